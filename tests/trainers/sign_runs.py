"""Small trainings and checks of sign language, for tests."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers import preflight, registry
from trainers.data import samples
from trainers.engine.distributed import Group
from trainers.engine.events import Silent
from trainers.engine.loop import TrainingLoop
from trainers.preflight import Request
from trainers.tasks.ctc_trainer import CTCTrainer

TINY: dict[str, object] = {
    "preset": "tiny",
    "epochs": 3,
    "batch_size": 8,
    "warmup_epochs": 1.0,
    "learning_rate": 0.003,
    "num_workers": 0,
    "progress_seconds": 0.0,
}
TRAINERS = ("i3d-teacher", "mobilenet-v3")


def opened(name: str, data: Path, work: Path, **config: object) -> Any:
    """Return a trainer of the data folders below `data`."""
    found = registry.describe(name).config(**{**TINY, **config})
    folders = {path.name: path for path in data.iterdir() if path.is_dir()}
    return registry.trainer(name).open(found, folders, work, Silent())


def trained(task: CTCTrainer, root: Path, stop: int = 10**9) -> TrainingLoop:
    """Train in this process up to a step."""
    trainer = TrainingLoop(
        task, root, Silent(), Group(torch.device("cpu")), halted=lambda s: s >= stop, talk=False
    )
    trainer.run()
    return trainer


def check(name: str, data: Path, work: Path, task: type | None = None, **config: object) -> dict[str, Any]:
    """Return the report of `check`."""
    folders = {path.name: str(path) for path in data.iterdir() if path.is_dir()}
    request = Request({**TINY, **config}, folders, "full", work)
    return preflight.check(name, request, Silent(), task)[0]


def errors(report: dict[str, Any]) -> set[str]:
    """Return the codes of all errors in the report."""
    return {f["code"] for f in report["findings"] if f["severity"] == "error"}


def of(report: dict[str, Any], code: str) -> dict[str, Any]:
    """Return the only finding with this code."""
    (found,) = [finding for finding in report["findings"] if finding["code"] == code]
    return found  # type: ignore[no-any-return]


def change(path: Path, edit: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    """Replace a file of a linked copy."""
    with np.load(path) as held:
        arrays = dict(held)
    path.unlink()
    samples.write_npz(path, edit(arrays))


def linked(folder: Path, to: Path) -> Path:
    """Return a copy that may be changed; its files are links: replace them, never write to them."""
    for path in folder.rglob("*"):
        if path.is_file():
            there = to / path.relative_to(folder)
            there.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, there)
    return to
