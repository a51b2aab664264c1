"""A deploy to several hosts waits until the run has begun on all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.commands import group
from orchestrator.errors import GpujobError
from tests.support import Client, ScriptedHost, new_client

RUN = "job-20261121T101112-1a2b"
ROUNDS = 60


class Clock:
    now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def hosts(clock: Clock, count: int, begins: float, ended: int | None = None) -> list[ScriptedHost]:
    """Hosts on which the run begins at a time; on the host `ended` it has ended before."""

    def answer(rank: int) -> dict[str, Any]:
        state: dict[str, Any] = {"started": 1.0, "attempt": int(clock.now >= begins)}
        if rank == ended:
            state |= {"attempt": 0, "ended": 2.0, "exit_code": 1}
        return {"runs": [{"id": RUN, "run": {}, "state": state, "supervised": True, "tail": ["no port"]}]}

    made = []
    for rank in range(count):
        host = ScriptedHost({"status": lambda rank=rank, **_: answer(rank)})
        host.label = f"host{rank}"
        made.append(host)
    return made


def asked(many: list[ScriptedHost]) -> int:
    return sum(len(host.requests) for host in many)


def test_waiting_for_many_hosts_asks_each_about_as_often_as_few(client: Client) -> None:
    counts = {}
    for count in (4, 100):
        clock = Clock()
        many = hosts(clock, count, begins=ROUNDS / 2)
        ctx = client.context(now=lambda clock=clock: clock.now, sleep=clock.sleep)
        met = group.wait_until_met(ctx, many, RUN)
        assert [run.id for run in met] == [RUN] * count
        assert all(run.state and run.state.attempt == 1 for run in met)
        counts[count] = asked(many)
    assert counts[100] < counts[4] + 3 * 100


@pytest.mark.parametrize("ended", [0, 1, 49])
def test_a_host_on_which_the_run_ended_is_named_while_others_wait(client: Client, ended: int) -> None:
    clock = Clock()
    many = hosts(clock, 50, begins=1e9, ended=ended)
    with pytest.raises(GpujobError, match=f"the run ended on host{ended} before it began"):
        group.wait_until_met(client.context(now=lambda: clock.now, sleep=clock.sleep), many, RUN)
    assert clock.now < 10


def test_hosts_that_never_meet_are_given_up(client: Client) -> None:
    clock = Clock()
    many = hosts(clock, 3, begins=1e9)
    with pytest.raises(GpujobError, match="did not connect to each other within 120 s"):
        group.wait_until_met(client.context(now=lambda: clock.now, sleep=clock.sleep), many, RUN)
