"""Which box a deploy takes: the one that stands for its job, in whatever state that is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.commands import launches
from orchestrator.commands.boxes import Ingress
from orchestrator.store import Record, Store
from tests.support import new_client


def test_a_box_that_is_going_off_is_waited_for_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its deadline and `stopped` it is `stopping` for a while: no reason to buy another."""
    kept = {"id": "i-1", "job": "job", "state": "running", "launched": 1.0}
    done: list[str] = []

    def until(_ctx: Any, _store: Any, _cloud: Any, found: Record, state: str) -> Record:
        done.append(f"waited for {state}")
        return {**found, "state": state}

    def started(_ctx: Any, _store: Any, found: Record, hours: float) -> str:
        done.append(f"started for {hours:g} h")
        return f"ec2://{found['id']}"

    monkeypatch.setattr(launches, "Cloud", lambda _ctx: None)
    monkeypatch.setattr(launches.boxes, "refresh", lambda _c, _s, _a, found: {**found, "state": "stopping"})
    monkeypatch.setattr(launches.boxes, "until", until)
    monkeypatch.setattr(launches, "_started", started)
    given: Any = SimpleNamespace(want=SimpleNamespace(job="job"), hours=2.0)
    with new_client() as client:
        store = Store(client.state_dir)
        store.write_box(kept)
        assert launches.ensure(client.context(), store, given, Ingress()) == "ec2://i-1"
    assert done == ["waited for stopped", "started for 2 h"]
