"""A run over several hosts in `status`: shown once, by the best host that answers."""

from __future__ import annotations

import pytest

from orchestrator.commands import status
from orchestrator.core import runstate
from orchestrator.core.runfacts import Absent, Group, GroupState, RunFacts, RunRecord, SupervisorState
from orchestrator.view import status as view
from orchestrator.view.headlines import headline
from orchestrator.view.status import HostReport, RunReport
from tests.support import new_client

ID = "job-20261121T000000-0000"


def host(label: str, rank: int, unreachable: str | None = None) -> HostReport:
    group = Group(rank, ("a", "b"))
    return HostReport(
        label, (RunFacts(id=ID, record=RunRecord(job="job", group=group)),), unreachable=unreachable
    )


@pytest.mark.parametrize(
    ("hosts", "shown_at"),
    [
        ([host("a", 0), host("b", 1)], "a"),
        ([host("b", 1), host("a", 0)], "a"),
        ([host("a", 0, "no answer"), host("b", 1)], "b"),
        ([host("a", 0, "no answer"), host("b", 0, "no answer")], "a"),  # both from the cache
    ],
)
def test_a_run_over_two_hosts_is_shown_once(hosts: list[HostReport], shown_at: str) -> None:
    merged = status._as_one(hosts, is_named=False)
    assert [one.target for one in merged if one.runs] == [shown_at]


def test_a_host_whose_run_is_shown_with_another_is_not_said_to_have_none() -> None:
    with new_client() as client:
        ctx = client.context()
        view.print_status(ctx, status._as_one([host("a", 0), host("b", 1)], is_named=False), False)
        assert "its runs over several hosts are shown with a" in ctx.stdout.getvalue()  # type: ignore[attr-defined]
        assert "none was ever deployed" not in ctx.stdout.getvalue().partition("\nb\n")[2]  # type: ignore[attr-defined]


def test_a_host_that_is_named_alone_shows_its_part() -> None:
    assert status._as_one([host("b", 1)], is_named=True)[0].runs


def test_the_missing_host_is_named_while_the_others_wait_and_after() -> None:
    absent = GroupState((Absent("b", 0.0),))
    waiting = RunFacts(id=ID, supervised=True, state=SupervisorState(group=absent))
    assert headline(RunReport(waiting, runstate.fold(waiting, 1.0))).startswith("waiting for host b since ")
    lost = RunFacts(id=ID, state=SupervisorState(ended=2.0, reason="host-lost", exit_code=1, group=absent))
    assert headline(RunReport(lost, runstate.fold(lost, 3.0))) == "host b was lost"
