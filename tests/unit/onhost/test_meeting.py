"""How the supervisors of a run over several hosts agree; connections are real, on loopback."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from orchestrator.onhost import meeting, meeting_lines
from orchestrator.onhost.exits import Exit
from orchestrator.onhost.group_decisions import Finish, Go, Halt, Report, Situation, decide
from orchestrator.onhost.meeting import Leader, Member
from orchestrator.onhost.meeting_base import Meeting
from orchestrator.onhost.records import GroupSpec
from tests.rigs.patience import wait_until

FAILED, DONE = Exit(1, None), Exit(0, None)


def situation(
    *reports: Report, absent: dict[int, float] | None = None, stop: Halt | None = None, **more: object
) -> Situation:
    missing = absent or {}
    ranks = [rank for rank in range(len(reports) + len(missing)) if rank not in missing]
    values = {"restarts": 0, "max_restarts": 0, "has_met": True, **more}
    return Situation(
        len(reports) + len(missing),
        dict(zip(ranks, reports, strict=True)),
        missing,
        stop,
        **values,  # type: ignore[arg-type]
    )


NEW, BAD, GOOD = Report(0), Report(1, FAILED), Report(1, DONE)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (situation(NEW, NEW, has_met=False), Go(1, 0, "", 0)),
        (situation(GOOD, GOOD), Finish(DONE)),
        (situation(BAD, GOOD), Finish(FAILED)),
        (situation(BAD, BAD, max_restarts=1), Go(2, 1, "", 0)),
        (situation(BAD, BAD, restarts=1, max_restarts=1), Finish(FAILED)),
        (situation(BAD, Report(1, Exit(66, None)), max_restarts=9), Finish(Exit(66, None))),
        (situation(BAD, Report(1, Exit(65, None)), max_restarts=9), Finish(Exit(65, None))),
        (situation(Report(1, None, "stopped", "ana"), BAD), Finish(None, "stopped", "ana")),
        (situation(BAD, BAD, max_restarts=9, stop=Halt("", "hours")), Finish(None, "hours")),
        (situation(BAD, absent={1: 90.0}), Finish(FAILED, "host-lost")),
        (situation(BAD, absent={1: 90.0}, max_restarts=1), None),
        (situation(BAD, absent={1: -900.0}, max_restarts=1), Finish(FAILED, "host-lost")),
        (situation(BAD, Report(1), max_restarts=1), Go(2, 1, "", 0)),
        (situation(NEW, absent={1: 0.0}, has_met=False), None),
        (situation(NEW, absent={1: -900.0}, has_met=False), Finish(FAILED, "not-started")),
        (situation(Report(3, None, "stopped", "ana"), absent={1: 90.0}), Finish(None, "stopped", "ana")),
    ],
)
def test_what_follows_from_what_the_hosts_report(now: Situation, expected: object) -> None:
    assert decide(now, 100.0) == expected


def test_nothing_is_decided_while_a_host_is_busy() -> None:
    busy = situation(BAD, NEW)._replace(size=3)
    assert decide(busy, 100.0) is None


@contextmanager
def meetings(
    size: int = 2, key: str = "k", budget: int = 0, address: str = "127.0.0.1"
) -> Iterator[list[Meeting]]:
    """The hosts of a run in this process; each is polled by a thread, with a clock that stands still."""
    hosts, port = [f"h{rank}" for rank in range(size)], meeting_lines.free_port()
    specs = [GroupSpec(rank, hosts, [address], port, "k" if rank == 0 else key) for rank in range(size)]
    opened = [meeting.open_meeting(spec, 0, budget, 0.0) for spec in specs]
    done = threading.Event()
    clocks = [0.0] * size

    def poll(rank: int) -> None:
        while not done.wait(0.002):
            clocks[rank] += 0.002
            opened[rank].poll(clocks[rank])

    threads = [threading.Thread(target=poll, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    try:
        yield opened
    finally:
        done.set()
        for thread in threads:
            thread.join()
        with ThreadPoolExecutor() as pool:  # an end waits until the other end closes, too
            list(pool.map(lambda one: one.close(), opened))


def until(test: Callable[[], bool]) -> None:
    wait_until(test, "the hosts do not agree")


def begun(opened: list[Meeting]) -> list[Go]:
    """Report that all are ready; wait until all of them begin."""
    for one in opened:
        one.report(Report(0))
    until(lambda: all(isinstance(one.decision, Go) for one in opened))
    return [one.decision for one in opened if isinstance(one.decision, Go)]


def test_all_hosts_begin_the_same_attempt_or_none_does() -> None:
    with meetings(3) as opened:
        for one in opened[:2]:
            one.report(Report(0))
        until(lambda: 2 not in opened[0].absent)
        assert opened[0].decision is None
        opened[2].report(Report(4))
        until(lambda: all(one.decision for one in opened))
        assert len(set(map(str, (one.decision for one in opened)))) == 1
        assert isinstance(opened[2].decision, Go)
        assert opened[2].decision.attempt == 5


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_hosts_meet_by_ipv4_and_by_ipv6(address: str) -> None:
    with meetings(address=address) as opened:
        assert {go.address for go in begun(opened)} == {address}
        assert {one.address for one in opened} == {address}


def test_a_host_whose_command_fails_ends_those_of_the_others() -> None:
    with meetings(3) as opened:
        begun(opened)
        opened[1].report(Report(1, FAILED))
        until(lambda: opened[0].halt is not None and opened[2].halt is not None)
        assert opened[2].halt == Halt("the command on h1 ended with exit code 1")
        for one in (opened[0], opened[2]):
            one.report(Report(1, FAILED))
        until(lambda: all(one.decision == Finish(FAILED) for one in opened))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stop_on_any_host_stops_all(rank: int) -> None:
    with meetings() as opened:
        begun(opened)
        opened[rank].ask_stop("stopped", "ana")
        until(lambda: opened[1 - rank].halt is not None)
        assert opened[1 - rank].halt == Halt(f"stopped on h{rank}", "stopped", "ana")
        opened[rank].report(Report(1, Exit(75, None), "stopped", "ana"))
        opened[1 - rank].report(Report(1, Exit(75, None), "stopped", "ana"))
        until(lambda: all(one.decision == Finish(None, "stopped", "ana") for one in opened))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_host_that_shuts_down_is_waited_for_without_a_restart(rank: int) -> None:
    with meetings() as opened:
        begun(opened)
        leaving, other = opened[rank], opened[1 - rank]
        leaving.ask_stop("preempted", None)
        until(lambda: other.halt is not None)
        assert other.halt == Halt(f"preempted on h{rank}", is_free=True)
        leaving.report(Report(1, Exit(75, None), "preempted"))
        until(lambda: leaving.decision == Finish(None, "preempted"))
        other.report(Report(1, Exit(1, None), is_free=True))
        spec = leaving.group
        leaving.close()
        until(lambda: rank in other.absent)
        assert other.decision is None
        opened[rank] = meeting.open_meeting(spec, 0, 0, 0.0)
        until(lambda: rank not in other.absent)
        opened[rank].report(Report(1))
        until(lambda: isinstance(other.decision, Go))
        assert str(other.decision).startswith("Go(attempt=2, restarts=0, address='127.0.0.1'")


def test_where_no_host_comes_back_the_run_is_preempted() -> None:
    free = Report(1, FAILED, is_free=True)
    late = situation(free, absent={1: -2000.0})
    assert decide(late, 100.0) == Finish(None, "preempted")
    assert decide(late._replace(absent={1: 90.0}), 100.0) is None


def test_a_host_that_dies_is_missed_and_one_in_its_place_is_taken() -> None:
    with meetings(budget=1) as opened:
        begun(opened)
        leader, member = opened
        assert isinstance(leader, Leader)
        assert isinstance(member, Member)
        member._line.close()  # type: ignore[union-attr]
        until(lambda: leader.halt is not None and member.halt is not None)
        assert "was lost" in leader.halt.why  # type: ignore[union-attr]
        for one in opened:
            one.report(Report(1, FAILED))
        until(lambda: all(isinstance(one.decision, Go) for one in opened))
        assert str(leader.decision).startswith("Go(attempt=2, restarts=1, address='127.0.0.1'")


def test_without_the_key_of_the_run_nobody_takes_part() -> None:
    with meetings(key="wrong") as opened:
        for one in opened:
            one.report(Report(0))
        until(lambda: "key of the run" in opened[1].problem or "no message" in opened[1].problem)
        assert opened[0].decision is None
        assert 1 in opened[0].absent


def test_what_was_sent_before_the_end_of_a_connection_is_read() -> None:
    one, other = socket.socketpair()
    line = meeting_lines.Line(one, 0.0)
    other.sendall(b'{"finish": 1}\n')
    other.close()
    assert [message.values for message in line.receive(1.0)] == [{"finish": 1}]
    with pytest.raises(meeting_lines.Lost):
        line.receive(1.0)
    line.close()


def test_a_silent_connection_is_lost() -> None:
    one, other = socket.socketpair()
    line = meeting_lines.Line(one, 0.0)
    line.beat(meeting_lines.SILENCE - 1)
    with pytest.raises(meeting_lines.Lost, match="silent"):
        line.beat(meeting_lines.SILENCE + 1)
    assert json.loads(other.recv(100)) == {}
    line.close()
    other.close()


def quiet(one: Meeting) -> bool:
    return one.exchange_activity(False, 0.0)


def test_a_host_without_work_hears_that_any_other_is_active() -> None:
    with meetings(size=3) as opened:
        begun(opened)
        for active in range(3):
            until(lambda: list(map(quiet, opened)) == [False] * 3)
            heard = [False] * 3

            def tell(active: int = active, heard: list[bool] = heard) -> bool:
                for rank, one in enumerate(opened):
                    heard[rank] |= one.exchange_activity(rank == active, 0.0)
                return all(heard[rank] for rank in range(3) if rank != active)

            until(tell)


def test_hosts_that_are_all_idle_hear_of_no_activity() -> None:
    with meetings() as opened:
        begun(opened)
        assert [quiet(one) for one in opened for _ in range(3)] == [False] * 6
