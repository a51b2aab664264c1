"""A client whose commands meet a scripted host, and what such a host answers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.process import Done
from orchestrator.targets.base import Target
from tests.support import Client, Result, ScriptedHost, new_client
from tests.unit.core.test_plan import FACTS

REPORT: dict[str, Any] = {
    "v": 1,
    "event": "report",
    "trainer": "facenet-lstm",
    "tier": "full",
    "findings": [],
    "checked": ["labels.nonempty"],
    "data": {"samples": 2, "used": 2, "refused": [], "tables": []},
    "seconds": 1.0,
}


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        for name in ("ravdess", "crema"):
            (new.project / "sets" / name).mkdir(parents=True)
        yield new


def started(spec: dict[str, Any], **_: Any) -> dict[str, Any]:
    status = {**SEEN, "id": spec["id"], "run": {"job": spec.get("job"), "who": spec.get("who")}}
    return {"started": True, "run": status}


SEEN: dict[str, Any] = {
    "id": "facenet-lstm-20261121T101112-1a2b",
    "run": {"job": "facenet-lstm", "who": "tester"},
    "state": {"ended": None, "started": 1.0, "attempt": 1},
    "supervised": True,
    "pids": [5],
    "session": "gpujob-x",
    "events": [],
    "log": {"bytes": 0, "tail": []},
    "checkpoints": {"steps": [], "last": None, "best": None},
}


def scripted(**answers: Any) -> ScriptedHost:
    lines = [json.dumps({"event": "progress", "step": 1}), json.dumps(REPORT)]
    base = {"host_facts": FACTS, "start": started, "status": {"runs": []}, "clean": {}}
    base["run"] = (lines, Done(0, ""))
    return ScriptedHost({**base, **answers})


def type_in(
    client: Client,
    host: ScriptedHost,
    *words: str,
    monkeypatch: pytest.MonkeyPatch,
    remote: bool = False,
    **changes: Any,
) -> Result:
    class ScriptedTarget(Target):
        needs_rsync = False
        is_local = not remote
        label = host.label

        @contextlib.contextmanager
        def connect(self) -> Iterator[ScriptedHost]:
            yield host

    monkeypatch.setattr("orchestrator.registry.target", lambda *_: ScriptedTarget())
    return client.run(*words, **changes)


DEPLOY = ("deploy", "facenet-lstm", "--data", "sets")
