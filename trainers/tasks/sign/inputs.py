"""Checks the files given to `predict` and the data given to `evaluate` as training checks its data."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainers.data import walk
from trainers.data.landmarks import Layout
from trainers.data.refusal import Unusable
from trainers.data.sign import reading
from trainers.engine import health
from trainers.engine.health import DataUnusable


def read(path: Path, least: int, layout: Layout) -> tuple[np.ndarray, list[str]]:
    """Raw columns (T, 1629) float16 of a file with at least `least` frames, and warnings about them.

    Raises Unusable, also if the columns cannot have the model's layout, and Unread.
    """
    walk.require_file(path)
    raw = reading.read(path, least).raw
    wrong, _ = reading.misplaced([reading.present(raw)], layout)
    if wrong:
        raise Unusable("does not have the layout of the model", misplaced(wrong, layout), "schema.layout")
    warnings = []
    if (top := float(np.abs(raw).max())) > reading.FARTHEST:
        warnings.append(f"coordinates up to {top:.3g}: landmarks are fractions of the picture")
    if absent := reading.missing_groups(raw, layout):
        warnings.append(f"{' and '.join(absent)} missing in every frame")
    return raw, warnings


def require_layout(layout: Layout, expected: Layout) -> None:
    """Raise DataUnusable for data of another layout than that of the model."""
    if layout != expected:
        message = f"the data is {layout.name}, the model was trained on {expected.name}"
        raise DataUnusable([health.error("schema.layout", message, "take data of the model's layout")])


def misplaced(wrong: Sequence[tuple[int, int]], layout: Layout) -> str:
    """Describes ranges of landmarks that vanish together but are not groups of the layout."""
    columns = ", ".join(f"{3 * first}:{3 * end}" for first, end in wrong)
    groups = ", ".join(f"{name} {first}:{end}" for name, (first, end) in layout.groups.items())
    return f"columns {columns} vanish in the same frames, but are not whole groups of {layout.name}: {groups}"
