"""Who is in the way of a start, judged on the host at that moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import gpus, proc, rivals
from orchestrator.onhost.answers import Refused

OURS = "job-20261121T101112-1a2b"
OTHER = "other-20261121T101110-3c4d"
SPEC: dict[str, Any] = {"id": OURS, "job": "job", "resources": {"gpus": 1}}
HOLDER = {"gpu": "GPU-1", "pid": 9, "name": "python", "used_mib": 700, "user": "ana"}


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A host with one GPU, which nobody holds, and one run of another job, which lives and asks for it."""
    found = Layout(str(tmp_path))
    going(found, OTHER, monkeypatch)
    monkeypatch.setattr(gpus, "sample", lambda: [{"uuid": "GPU-1"}])
    monkeypatch.setattr(gpus, "holders", list)
    return found


def going(layout: Layout, run_id: str, monkeypatch: pytest.MonkeyPatch, wants: int = 1) -> None:
    folder = Path(layout.run(run_id).folder)
    folder.mkdir(parents=True, exist_ok=True)
    job = run_id.split("-")[0]
    spec = {"id": run_id, "job": job, "mark": job, "argv": ["train.sh"], "resources": {"gpus": wants}}
    (folder / "run.json").write_text(json.dumps(spec))
    monkeypatch.setattr(proc, "by_mark", lambda: {job: [7]})


def refused(layout: Layout, beside: list[str] | None, share_gpu: bool = False) -> Refused | None:
    try:
        rivals.refuse(layout, SPEC, share_gpu, beside)
    except Refused as no:
        return no
    return None


def test_another_run_of_the_job_is_in_the_way_and_its_own_is_not(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    going(layout, OURS, monkeypatch)
    assert refused(layout, []) is None
    going(layout, "job-20261121T101113-5e6f", monkeypatch)
    no = refused(layout, [], share_gpu=True)
    assert no
    assert (no.kind, no.about["run"]) == ("running", "job-20261121T101113-5e6f")


def test_a_gpu_that_is_held_by_now_is_in_the_way_unless_it_is_shared(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "holders", lambda: [HOLDER])
    no = refused(layout, [OTHER])
    assert no
    assert (no.kind, [holder["pid"] for holder in no.about["holders"]]) == ("gpu", [9])
    assert refused(layout, [OTHER], share_gpu=True) is None


def test_a_run_that_began_since_the_plan_will_hold_its_gpu(layout: Layout) -> None:
    no = refused(layout, [])
    assert no
    assert (no.kind, [holder["ours"] for holder in no.about["holders"]]) == ("gpu", [OTHER])
    assert refused(layout, [OTHER]) is None
    assert refused(layout, None) is None


def test_a_run_that_asks_for_no_gpu_holds_none(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    going(layout, OTHER, monkeypatch, wants=0)
    assert refused(layout, []) is None


def test_a_host_without_a_gpu_takes_jobs_beside_each_other(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "sample", list)
    assert refused(layout, []) is None
