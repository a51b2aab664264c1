"""Ending boxes: what they hold comes home first, or somebody says that it need not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.commands import fleet
from orchestrator.errors import GpujobError
from orchestrator.store import Record, Store
from orchestrator.targets.base import Host, Target
from tests.support import Client, ScriptedHost, new_client

LABEL = "ec2://i-1"
RUN = "job-20261121T101112-1a2b"
ENDED = {"ended": 1.0, "reason": "exit", "exit_code": 0}
SEEN = {"id": RUN, "state": ENDED, "supervised": False, "pids": [], "events": [], "run": {}}


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as found:
        yield found


@pytest.fixture
def stopped(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A box on record that its deadline has stopped, and what is done with it."""
    kept = {"id": "i-1", "type": "g5.xlarge", "state": "stopped", "spot": False, "volume": None}
    Store(client.state_dir).write_box({**kept, "launched": 1.0})
    done: list[str] = []

    def terminate(_ctx: Any, _store: Any, _cloud: Any, found: Record) -> Record:
        done.append("terminate")
        return {**found, "state": "terminated"}

    monkeypatch.setattr(fleet.ec2, "refresh", lambda _ctx, _store, _cloud, found: found)
    monkeypatch.setattr(fleet.ec2, "terminate", terminate)
    monkeypatch.setattr(fleet, "Cloud", lambda _ctx: None)
    monkeypatch.setattr(fleet.view, "print_boxes", lambda *_: None)
    return done


def holding(left_out: list[str]) -> ScriptedHost:
    told = {"left_out": left_out, "missing": [], "no_room": []}
    staged = {"token": "t", "folder": "/stage", "files": [], **told}
    return ScriptedHost({"look": {"runs": [SEEN]}, "stage": staged, "unstage": {}})


def wake(monkeypatch: pytest.MonkeyPatch, host: ScriptedHost, done: list[str]) -> None:
    @contextlib.contextmanager
    def woken(_ctx: Any, _store: Any, _target: Target) -> Iterator[Host]:
        done.append("wake")
        yield host

    monkeypatch.setattr(fleet.launches, "woken", woken)


def test_a_stopped_box_is_brought_up_and_emptied_before_it_is_ended(
    client: Client, stopped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wake(monkeypatch, holding([]), stopped)
    assert fleet.down(client.context(yes=True), LABEL, discard=False, purge=False) == 0
    assert stopped == ["wake", "terminate"]


def test_a_box_that_keeps_what_could_not_come_home_is_not_ended(
    client: Client, stopped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wake(monkeypatch, holding(["outputs/link"]), stopped)
    with pytest.raises(GpujobError, match="is kept") as refused:
        fleet.down(client.context(yes=True), LABEL, discard=False, purge=False)
    assert "--discard" in str(refused.value.next_step)
    assert stopped == ["wake"]


def test_with_discard_a_stopped_box_is_ended_as_it_is(client: Client, stopped: list[str]) -> None:
    assert fleet.down(client.context(yes=True), LABEL, discard=True, purge=False) == 0
    assert stopped == ["terminate"]
