"""How much a run used its GPUs, in state.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.onhost import gpus, launching
from orchestrator.onhost.gpus import Gpu
from orchestrator.onhost.records import State


def gpu(use: int | None, used: int, uuid: str = "GPU-0") -> Gpu:
    return Gpu(0, "NVIDIA L4", used, 23034, use, 60, uuid, "555")


def test_the_use_is_the_mean_and_the_memory_the_most() -> None:
    use = gpus.add_use([], [gpu(100, 500), gpu(0, 10, "GPU-1")])
    for sample in (gpu(50, 9000), gpu(None, 100), gpu(30, 200)):
        use = gpus.add_use(use, [sample])
    assert [(one["uuid"], one["samples"], one["use_percent"], one["used_mib"]) for one in use] == [
        ("GPU-0", 3, 60.0, 9000),
        ("GPU-1", 1, 0.0, 10),
    ]


def test_gpus_of_other_runs_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "sample", lambda: [gpu(80, 500), gpu(90, 700, "GPU-1")])
    monkeypatch.setattr(gpus, "processes", lambda: [gpus.GpuProcess("GPU-1", 7, "python", 700, None)])
    watch, state = gpus.GpuWatch(), State()
    for _ in range(3):  # within the interval, only the first one samples
        watch.look(state, lambda: [7, 8])
    assert [(one["uuid"], one["samples"], one["use_percent"]) for one in state.gpu_use] == [
        ("GPU-1", 1, 90.0)
    ]
    assert len(state.gpus) == 2


def test_the_use_goes_on_when_a_run_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"gpu_use": gpus.add_use([], [gpu(80, 500)])}))
    state = launching.next_state("job-1", State.load(str(path)) or State())
    [use] = gpus.add_use(state.gpu_use, [gpu(40, 100)])
    assert (use["samples"], use["use_percent"], use["used_mib"]) == (2, 60.0, 500)


@pytest.mark.parametrize("damaged", [None, 7, "x", [7, {}, {"uuid": 1}], [{"uuid": "a", "samples": -1}]])
def test_damaged_use_is_left_out(tmp_path: Path, damaged: object) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"gpu_use": damaged}))
    state = State.load(str(path))
    assert state
    assert gpus.add_use(state.gpu_use, []) == []
