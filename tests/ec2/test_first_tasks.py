"""The five tasks of docs/first-tasks.md, typed by a user who has an SSH host and an EC2 instance."""

from __future__ import annotations

import io
import shlex

import pytest

from tests.ec2 import user
from tests.ec2.user import UP
from tests.host.machines import log_in_to, new_machine, plant_python
from tests.rigs import pages
from tests.rigs.ec2.fake import FakeEC2
from tests.rigs.patience import wait_until
from tests.support import REPOSITORY, Client, Result

PAGE = REPOSITORY / "docs" / "first-tasks.md"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def task(client: Client, number: int) -> list[Result]:
    """Types the commands of a task, and agrees to what they ask."""
    results = []
    for command in pages.blocks(PAGE)[number].commands:
        words = shlex.split(command)[1:]
        result = user.run(client, *words, stdin=Terminal("y\n"), stderr=Terminal())
        assert result.code == 0, f"{command}\n{result.out}\n{result.err}"
        results.append(result)
    return results


def wait_for(client: Client, state: str) -> None:
    def has_state() -> bool:
        run = client.run("status", "train", "--on", "gpubox", "--json").json["runs"][-1]
        return bool(run["state"] == state)

    wait_until(has_state, f"the run is {state}")


def test_each_task_takes_at_most_three_commands() -> None:
    tasks = pages.blocks(PAGE)[1:]
    assert [0 < len(block.commands) <= 3 and block.reason is None for block in tasks] == [True] * 5


@pytest.mark.sshd
def test_a_new_user_does_the_five_tasks_as_the_page_says(ec2: FakeEC2, client: Client) -> None:
    client.write("train.py", pages.files(PAGE)["train.py"])
    with new_machine(client) as machine:
        plant_python(client, machine)
        log_in_to(client, machine, known=False, name="gpubox")
        assert "is on record" in task(client, 1)[0].out
        assert "train-" in task(client, 2)[2].out
        wait_for(client, "failed")
        status, logs, _ = task(client, 3)
        assert ("KeyError: 'lr'" in status.out, "KeyError: 'lr'" in logs.out) == (True, True)
        wait_for(client, "succeeded")
        task(client, 4)
        assert len(list(client.project.glob("fetched/train-*/checkpoints/best.json"))) == 1
        assert user.run(client, *UP).code == 0
        listed, _, cost = task(client, 5)
        assert "g5.xlarge" in listed.out
        assert "$" in cost.out
        assert list(ec2.states().values()) == ["terminated"]
