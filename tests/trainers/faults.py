"""Helpers for the tests of seeded faults: run a check, and change data."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pytest

from trainers import preflight, registry
from trainers.data import samples
from trainers.engine.events import Silent
from trainers.facenet_lstm import sample as writer


def codes(report: dict, severity: str = "error") -> set[str]:
    return {f["code"] for f in report["findings"] if f["severity"] == severity}


SLOW = frozenset(("overfit", "resume.exact"))
"""These train for seconds. `option.used` is judged only after both: they read the options of a training."""


def check(
    request: preflight.Request, task: type | None = None, slow: Collection[str] = SLOW
) -> tuple[dict, int]:
    """Run the checks of facenet-lstm; of those in SLOW, only the ones in `slow`."""
    every = registry.checks
    with pytest.MonkeyPatch.context() as patch:
        left_out = SLOW.difference(slow)
        left_out = left_out | {"option.used"} if left_out else left_out
        chosen = lambda *words: [one for one in every(*words) if one.code not in left_out]  # noqa: E731
        patch.setattr(registry, "checks", chosen)
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
