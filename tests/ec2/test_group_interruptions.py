"""A run over several instances, one of which EC2 interrupts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.ec2 import user
from tests.ec2.group_jobs import WORDS, job, members, prepared, rules, succeed
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client


@pytest.fixture
def client(ec2: FakeEC2, realtime_client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    return prepared(realtime_client, ec2, monkeypatch)


def until_attempt(ec2: FakeEC2, client: Client, run: str, attempt: int) -> None:
    def have_begun() -> bool:
        path = f"/home/ubuntu/.gpujob/runs/{run}/log"
        try:
            logs = [ec2.run(one.id, "cat", path)[1] for one in members(client)]
        except RuntimeError:  # the machine of one that EC2 starts again is not up yet
            return False
        return all(f"together {rank} of 2 attempt {attempt}" in "".join(logs) for rank in (0, 1))

    ec2.until(have_begun, f"both begin attempt {attempt}")


def interrupt(ec2: FakeEC2, run: str, lost: str, other: str) -> int:
    """Interrupt an instance; return the step of the other one, which waits for it."""
    folder = f"/home/ubuntu/.gpujob/runs/{run}"
    ec2.interrupt(lost, 5)
    ec2.until(lambda: ec2.states()[lost] == "stopped", "EC2 stops the instance")

    def waits() -> bool:
        absent = json.loads(ec2.run(other, "cat", f"{folder}/state.json")[1])["group"]["absent"]
        return [one["host"] for one in absent] == [f"ec2://{lost}"]

    ec2.until(waits, "the other instance waits for it")
    return int(ec2.run(other, "cat", f"{folder}/checkpoints/last")[1])


@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_whose_instance_ec2_starts_again_continues_by_itself(
    booted: FakeEC2, client: Client, rank: int, trials: Any
) -> None:
    if not trials(0, 1):
        pytest.skip("in `make test-full`: the supervisors alone show the same, and one instance does")
    booted.set(hidden_calls=0)
    job(client, spot=True)
    run = succeed(client.run(*WORDS)).out.strip()
    hosts = [host.removeprefix("ec2://") for host in client.state(run)["target"].split(",")]
    until_attempt(booted, client, run, 1)
    step = interrupt(booted, run, hosts[rank], hosts[1 - rank])
    booted.offer_capacity(hosts[rank])
    until_attempt(booted, client, run, 2)
    shown = client.until(lambda state: state["attempt"] == 2)
    assert shown["state"] == "running"
    assert int(booted.run(hosts[0], "cat", f"/home/ubuntu/.gpujob/runs/{run}/checkpoints/last")[1]) > step
    succeed(client.run("stop", run, "--terminate", "--yes"))
    assert booted.leftovers() == []


@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_whose_instance_is_interrupted_ends_together_and_continues(
    booted: FakeEC2, client: Client, rank: int, trials: Any
) -> None:
    if rank == 1 and not trials(0, 1):
        pytest.skip("in `make test-full`: rank 0, which the others connect to, is the harder one")
    booted.set(hidden_calls=0)  # the volumes are old by the time of the interruption
    job(client, spot=True)
    run = succeed(client.run(*WORDS)).out.strip()
    hosts = client.state(run)["target"].split(",")
    lost, other = hosts[rank].removeprefix("ec2://"), hosts[1 - rank].removeprefix("ec2://")
    until_attempt(booted, client, run, 1)
    last = f"/home/ubuntu/.gpujob/runs/{run}/checkpoints/last"
    step = interrupt(booted, run, lost, other)
    assert f"waiting for host ec2://{lost}" in succeed(client.run("status", run)).out

    preview = succeed(client.run("deploy", "--resume", run, "--dry-run"))
    assert f"launch another instance for ec2://{lost}" in preview.out
    resumed = succeed(client.run("deploy", "--resume", run, "--yes"))
    assert booted.states()[lost] == "terminated"
    (new,) = {one.id for one in members(client)} - {other}
    expected = [f"ec2://{new}", f"ec2://{other}"]
    assert client.state(run)["target"].split(",") == (expected if rank == 0 else expected[::-1]), resumed.err
    until_attempt(booted, client, run, 2)
    assert {one.group for one in members(client)} == {user.store(client).get(lost).group}
    assert rules(user.store(client).get(new).security_group)[0][0] == "198.51.100.7/32"
    for one in (new, other):
        assert int(booted.run(one, "cat", last)[1]) > step
    stopped = succeed(client.run("stop", run, "--terminate", "--yes"))
    assert "attempt 2" in (client.project / "fetched" / run / "rank-1" / "log").read_text()
    assert set(booted.states().values()) == {"terminated"}, stopped.err
    assert booted.leftovers() == []
