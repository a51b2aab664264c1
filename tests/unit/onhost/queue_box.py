"""A host with a queue and four GPUs, on which launches and programs are simulated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import (
    alert_watch,
    dispatch,
    files,
    gpus,
    host_facts,
    launching,
    leases,
    processes,
    run_queue,
)
from orchestrator.onhost.gpus import Gpu, GpuProcess
from orchestrator.onhost.records import RunSpec, State


def run_id(number: int, job: str = "job") -> str:
    return f"{job}{number}-20261121T101112-{number:04x}"


def card(index: int) -> Gpu:
    return Gpu(index, "GPU", 0, 1, 0, None, f"GPU-{index}", "550")


class Box:
    """A host with four GPUs, on which nothing is really started: `pids` are those of its live runs."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = Layout(str(root))
        self.cards: list[Gpu] | None = [card(n) for n in range(4)]
        self.programs: list[GpuProcess] = []
        self.pids: dict[str, list[int]] = {}
        monkeypatch.setattr(gpus, "sample", lambda timeout=5: self.cards)
        monkeypatch.setattr(host_facts, "gpu_processes", lambda: self.programs)
        monkeypatch.setattr(processes, "by_mark", lambda *_: self.pids)
        monkeypatch.setattr(processes, "table", dict)
        monkeypatch.setattr(os, "fsync", lambda _: None)
        monkeypatch.setattr(alert_watch, "start", lambda *_: None)
        monkeypatch.setattr(launching, "kill_session", lambda *_: None)
        monkeypatch.setattr(launching, "launch", self.launch)

    def launch(self, layout: Layout, name: str, restarts: int, umask: int) -> None:
        self.pids[name] = [1]
        state = State(id=name, boot=processes.boot(), supervisor={"pid": 1, "ticks": 2}, attempt=1)
        files.write_json(layout.run(name).state, vars(state))

    def end(self, name: str) -> None:
        del self.pids[name]
        state = State.load(self.layout.run(name).state)
        assert state
        files.write_json(self.layout.run(name).state, vars(state.replace(ended=9.0, reason="exit")))

    def spec(self, name: str, wants: int = 1, **more: Any) -> RunSpec:
        record = {"id": name, "job": name.split("-")[0], "mark": name, "argv": ["x"], **more}
        return RunSpec.parse({**record, "resources": {"gpus": wants}})

    def add(self, name: str, wants: int = 1, **more: Any) -> RunSpec:
        """Make a run that waits, without starting anything."""
        spec = self.spec(name, wants, **more)
        Path(self.layout.run(name).folder).mkdir(parents=True, exist_ok=True)
        files.write_json(self.layout.run(name).run_json, spec.record.values)
        run_queue.add(self.layout, name, 0o077)
        return spec

    def live(self, name: str, wants: int = 1, **more: Any) -> None:
        """Make a run that was started without the queue."""
        self.add(name, wants, **more)
        self.launch(self.layout, name, 0, 0)

    def reason(self, name: str) -> str:
        assert dispatch.advance(self.layout) == []
        place = run_queue.places(self.layout).get(name)
        assert place
        return str(place["reason"])

    def lease(self, name: str) -> tuple[str, ...]:
        lease = leases.load(self.layout.run(name))
        assert lease
        return lease.gpus
