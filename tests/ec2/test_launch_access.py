"""Who reaches an instance and whose it is: addresses, names, other users, commands at the same time."""

from __future__ import annotations

import contextlib
import shutil
import threading

import pytest

from orchestrator.context import Context
from orchestrator.instances import region
from tests.ec2 import user
from tests.ec2.test_launch import left, rules, up
from tests.ec2.user import UP
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client, Result


def test_the_only_allowed_address_is_the_current_one_of_the_caller(ec2: FakeEC2, client: Client) -> None:
    assert up(client).code == 0
    ec2.set(caller="203.0.113.9")
    label = f"ec2://{user.only(client).id}"
    result = user.run(client, "status", "--on", label)
    assert result.code == 0, result.err
    assert rules() == ["203.0.113.9/32:22"]


def test_a_client_with_a_new_name_and_address_reaches_its_instance(
    ec2: FakeEC2, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network may set the name. The instance's security group is updated, and deleted in the end."""
    assert up(client).code == 0
    ec2.set(caller="203.0.113.9")
    monkeypatch.setattr(Context, "who", "ada@dhcp-17")
    label = f"ec2://{user.only(client).id}"
    result = user.run(client, "status", "--on", label)
    assert result.code == 0, result.err
    assert rules() == ["203.0.113.9/32:22"]
    assert user.run(client, "hosts", "down", label, "--yes").code == 0
    assert ec2.leftovers() == []


def test_an_instance_without_a_record_is_found_by_its_tags(ec2: FakeEC2, client: Client) -> None:
    """The records are a cache: deleting them causes no second launch."""
    first = up(client)
    assert first.code == 0, first.err
    shutil.rmtree(client.state_dir)
    again = up(client)
    assert (again.code, again.out) == (0, first.out), again.err
    assert "the instance of this job" in again.err
    assert len(ec2.states()) == 1


def test_another_users_instance_of_the_name_is_shown_before_a_launch(
    ec2: FakeEC2, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ec2.set(machines=False)
    left(client)
    first = user.only(client).id
    shutil.rmtree(client.state_dir)
    monkeypatch.setattr(Context, "who", "ada@another")
    result = user.run(client, *[word for word in UP if word != "--yes"])
    assert result.code == 7
    assert f"ec2://{first} of " in result.err
    assert len(ec2.states()) == 1


def test_an_interrupted_launch_continues_from_another_address(ec2: FakeEC2, client: Client) -> None:
    left(client)
    ec2.set(caller="203.0.113.9")
    result = up(client)
    assert result.code == 0, result.err
    assert rules() == ["203.0.113.9/32:22"]
    assert len(ec2.states()) == 1


def test_a_range_given_as_flag_is_kept_when_the_client_address_changes(ec2: FakeEC2, client: Client) -> None:
    assert up(client, "--ssh-cidr", "198.51.100.0/24").code == 0
    ec2.set(caller="203.0.113.9")
    result = user.run(client, "status", "--on", f"ec2://{user.only(client).id}")
    assert result.code == 5
    assert rules() == ["198.51.100.0/24:22"]


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "::/0", "0.0.0.0/1", "198.51.100.7/24", "here"])
def test_a_range_open_to_all_or_invalid_is_refused_before_calling_ec2(
    ec2: FakeEC2, client: Client, cidr: str
) -> None:
    result = up(client, "--ssh-cidr", cidr)
    assert result.code == 2
    assert ec2.calls() == []


def test_a_range_open_to_all_is_allowed_with_the_flag(ec2: FakeEC2, client: Client) -> None:
    ec2.set(machines=False)
    left(client, "--ssh-cidr", "0.0.0.0/0", "--open-to-the-world")
    assert rules() == ["0.0.0.0/0:22"]


def test_two_commands_at_once_for_the_same_name_make_one_instance(
    ec2: FakeEC2, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, real = threading.Barrier(2), region.own_address

    def together(ctx: Context) -> str:
        """Wait for the other thread just before a launch attempt is recorded."""
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait()
        return real(ctx)

    monkeypatch.setattr(region, "own_address", together)
    results: list[Result] = []

    def go() -> None:
        results.append(up(client))
        both.abort()

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ec2.states()) == 1, [result.err for result in results]
    assert min(result.code for result in results) == 0, [result.err for result in results]


def test_an_instance_is_up_for_the_next_command_too(ec2: FakeEC2, client: Client) -> None:
    assert up(client).code == 0
    result = up(client)
    assert (result.code, "the instance of this job" in result.err) == (0, True)
    assert len(ec2.states()) == 1
