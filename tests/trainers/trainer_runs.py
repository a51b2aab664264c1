"""Runs of `python -m trainers train` in separate processes."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.patience import PATIENCE
from tests.rigs.torchpython import environment as torchpython
from tests.rigs.torchpython.environment import ForkedProcess
from trainers import run as engine

ROOT = Path(__file__).parents[2]


def environment(run: Path, data: Path, config: Mapping[str, object]) -> dict[str, str]:
    """Return the environment variables that the supervisor sets for a run."""
    folders = {name: str(data / name) for name in ("ravdess", "crema")}
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "GPUJOB_RUN_DIR": str(run),
        "GPUJOB_CONFIG": json.dumps(config),
        "GPUJOB_DATA": json.dumps(folders),
    }


def recipe(**more: object) -> dict[str, object]:
    """Return options of a small facenet-lstm that trains for seconds."""
    return {
        "hidden": [16],
        "dense": [16],
        "bidirectional": False,
        "epochs": 3,
        "warmup_epochs": 1.0,
        "batch_size": 12,
        "learning_rate": 0.003,
        "checkpoint_every": 3,
        "num_workers": 0,
        "progress_seconds": 0.0,
        **more,
    }


def start(run: Path, data: Path, config: Mapping[str, object], **more: str) -> ForkedProcess:
    """Start a training; its output is written to `<run>/log`."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / "log").open("a") as log:
        env = {**environment(run, data, config), **more}
        return torchpython.shared().start(["train", "facenet-lstm"], env, ROOT, log)


def train(run: Path, data: Path, config: Mapping[str, object], **more: str) -> int:
    """Train to the end; return the exit code."""
    return start(run, data, config, **more).wait(timeout=PATIENCE)


def train_here(name: str, run: Path, data: Mapping[str, Path], config: Mapping[str, object]) -> int:
    """Run `python -m trainers train NAME` in this process; its output is written to `<run>/log`."""
    run.mkdir(parents=True, exist_ok=True)
    variables = {
        "GPUJOB_RUN_DIR": str(run),
        "GPUJOB_CONFIG": json.dumps(config),
        "GPUJOB_DATA": json.dumps({name: str(path) for name, path in data.items()}),
    }
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.MonkeyPatch.context() as patch, (run / "log").open("w") as log:
            for variable, value in variables.items():
                patch.setenv(variable, value)
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                return engine.train(name)
    finally:
        signal.signal(signal.SIGTERM, before)


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    """Return the events of one kind; an incomplete last line is skipped."""
    path = run / "events.jsonl"
    text = path.read_text() if path.exists() else ""
    lines = (json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n"))
    return [entry for entry in lines if entry["event"] == kind]


def send_at(process: ForkedProcess, run: Path, step: int, number: signal.Signals) -> int:
    """Send a signal when the run has reported a step; return the exit code. The run may end earlier."""
    while process.poll() is None:
        if any(e["step"] >= step for e in events(run, "progress") if e["phase"] == "train"):
            process.send_signal(number)
            break
        time.sleep(0.001)
    return process.wait(timeout=PATIENCE)


def weights(run: Path, name: str = "last") -> bytes:
    """Return the path of the weights file of a checkpoint."""
    root = run / "checkpoints"
    return (root / (root / name).read_text().strip() / "model.safetensors").read_bytes()
