"""Helpers for the tests of seeded faults: run a check, and change data."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from trainers import preflight
from trainers.data import samples
from trainers.engine.events import Silent
from trainers.facenet_lstm import sample as writer


def codes(report: dict, severity: str = "error") -> set[str]:
    return {f["code"] for f in report["findings"] if f["severity"] == severity}


def check(request: preflight.Request, task: type | None = None) -> tuple[dict, int]:
    return preflight.check("facenet-lstm", request, Silent(), task)


def change(path: Path, edit: Callable[[dict], dict]) -> None:
    """Replace a file of a linked copy."""
    with np.load(path) as held:
        arrays = dict(held)
    path.unlink()
    samples.write_npz(path, edit(arrays))


def usable_files(folder: Path) -> list[Path]:
    """Return the usable files of the sample."""
    files = [writer.file_of(folder, name) for name in samples.recording_names(240, writer.ACTORS)]
    assert all(path.exists() for path in files)
    return files
