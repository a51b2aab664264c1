"""`status`: how long it waits for hosts that hang, refuse or fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from orchestrator.commands import ask
from orchestrator.core import runfacts
from orchestrator.errors import Unreachable
from orchestrator.store import CachedRun, Pace, Store
from tests.support import Client, new_client
from tests.unit.commands.test_status import NOW, Hosts, a_run


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def test_a_host_that_hangs_delays_nothing_beyond_its_patience(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    hosts = Hosts(client, monkeypatch, box=[a_run(1)], slow=released.wait)
    facts = runfacts.parse_run(a_run(2, "far", exit_code=None))
    assert facts
    Store(client.state_dir).save_run(CachedRun("slow", NOW - 60, facts))
    try:
        shown = hosts.status("--wait", "0.1")
    finally:
        released.set()
    states = {run["job"]: run["state"] for run in shown["runs"]}
    assert states == {"job": "succeeded", "far": "unreachable"}
    slow = next(host for host in shown["hosts"] if host["target"] == "slow")
    assert slow["unreachable"] == "no answer in 0.1 s: gpujob status --on slow waits longer"
    assert Store(client.state_dir).pace("slow").misses == 1


@pytest.mark.parametrize("pace", [Pace(), Pace(misses=3), Pace(60.0)])
def test_wait_is_what_every_host_gets_however_fast_it_answered_before(
    client: Client, pace: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    hosts = Hosts(client, monkeypatch, box=[a_run(1)], slow=released.wait)
    Store(client.state_dir).save_pace("slow", pace)
    try:
        shown = hosts.status("--wait", "0.2")
    finally:
        released.set()
    assert [host["unreachable"] for host in shown["hosts"]] == [
        None,
        "no answer in 0.2 s: gpujob status --on slow waits longer",
    ]


def test_wait_is_long_enough_for_a_host_whose_pace_would_not_be(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "_LEAST", 0.0)  # without --wait nothing would be waited for
    Hosts(client, monkeypatch, box=[a_run(1)], slow=lambda: time.sleep(0.2))
    result = client.run("status", "--wait", "3600", "--json", now=lambda: NOW)
    assert [host["unreachable"] for host in result.json["hosts"]] == [None, None]


def test_wait_limits_the_time_of_a_single_host_too(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    Hosts(client, monkeypatch, slow=released.wait)
    try:
        result = client.run("status", "--wait", "0.1", now=lambda: NOW)
    finally:
        released.set()
    assert (result.code, "no answer" in result.err) == (5, True)


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "soon"])
def test_a_wait_that_is_no_time_is_refused(client: Client, seconds: str) -> None:
    result = client.run("status", "--wait", seconds)
    assert (result.code, result.out) == (2, "")
    assert "--wait" in result.err


def test_a_host_that_refuses_is_not_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise Unreachable("slow refuses", "for a test")

    hosts = Hosts(client, monkeypatch, box=[a_run(1)], slow=refuse)
    shown = hosts.status("--wait", "3600")
    assert [host["unreachable"] for host in shown["hosts"]] == [None, "slow refuses: for a test"]


def test_a_fault_of_ours_while_a_host_is_asked_is_reported(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hosts(client, monkeypatch, box=[a_run(1)], slow=lambda: 1 / 0)
    result = client.run("status", now=lambda: NOW)
    assert result.code == 1
    assert "gpujob itself failed: ZeroDivisionError" in result.err


@pytest.mark.parametrize(
    ("pace", "seconds"),
    [
        (Pace(), 2),
        (Pace(0.1), 2),
        (Pace(3.0), 9),
        (Pace(60.0), 16),
        (Pace(misses=1), 4),
        (Pace(misses=2), 8),
        (Pace(misses=3), 16),
        (Pace(misses=4), 2),
        (Pace(misses=10**6 + 1), 4),
    ],
)
def test_patience_follows_how_fast_a_host_answered(pace: Pace, seconds: float) -> None:
    assert ask.patience(pace) == seconds
