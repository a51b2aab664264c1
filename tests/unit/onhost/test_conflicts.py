"""Conflicts that prevent a start, checked on the host at that moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import allocation, gpus, processes
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.gpus import Gpu, GpuProcess
from orchestrator.onhost.records import RunSpec

OWN = "job-20261121T101112-1a2b"
OTHER = "other-20261121T101110-3c4d"
SPEC: dict[str, Any] = {"id": OWN, "job": "job", "resources": {"gpus": 1}}
PROCESS = GpuProcess("GPU-1", 9, "python", 700, "ana")


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A host with one GPU, which no process uses, and a live run of another job that asks for it."""
    root = Layout(str(tmp_path))
    live_run(root, OTHER, monkeypatch)
    monkeypatch.setattr(gpus, "sample", lambda: [Gpu(0, "GPU", 0, 1, 0, None, "GPU-1", "550")])
    monkeypatch.setattr(gpus, "processes", list)
    return root


def live_run(layout: Layout, run_id: str, monkeypatch: pytest.MonkeyPatch, wants: int = 1) -> None:
    folder = Path(layout.run(run_id).folder)
    folder.mkdir(parents=True, exist_ok=True)
    job = run_id.split("-")[0]
    spec = {"id": run_id, "job": job, "mark": job, "argv": ["train.sh"], "resources": {"gpus": wants}}
    (folder / "run.json").write_text(json.dumps(spec))
    monkeypatch.setattr(processes, "by_mark", lambda *_: {job: [7]})


def refused(layout: Layout, known_runs: list[str] | None, share_gpu: bool = False) -> Refused | None:
    try:
        allocation.require_no_conflict(layout, RunSpec.parse(SPEC), share_gpu, known_runs)
    except Refused as no:
        return no
    return None


def test_another_run_of_the_job_prevents_a_start_and_its_own_does_not(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_run(layout, OWN, monkeypatch)
    assert refused(layout, []) is None
    live_run(layout, "job-20261121T101113-5e6f", monkeypatch)
    no = refused(layout, [], share_gpu=True)
    assert no
    assert (no.kind, no.details["run"]) == ("running", "job-20261121T101113-5e6f")


def test_a_gpu_in_use_prevents_a_start_unless_it_is_shared(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "processes", lambda: [PROCESS])
    no = refused(layout, [OTHER])
    assert no
    assert (no.kind, [process["pid"] for process in no.details["processes"]]) == ("gpu", [9])
    assert refused(layout, [OTHER], share_gpu=True) is None


def test_a_run_that_started_since_the_plan_will_use_its_gpu(layout: Layout) -> None:
    no = refused(layout, [])
    assert no
    assert (no.kind, [process["run"] for process in no.details["processes"]]) == ("gpu", [OTHER])
    assert refused(layout, [OTHER]) is None
    assert refused(layout, None) is None


def test_a_run_that_requests_no_gpu_uses_none(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    live_run(layout, OTHER, monkeypatch, wants=0)
    assert refused(layout, []) is None


def test_a_host_without_a_gpu_runs_several_jobs_at_once(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "sample", list)
    assert refused(layout, []) is None
