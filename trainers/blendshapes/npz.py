"""Reads NPZ files: `features` (N, F), `names` (F,), `labels` (N,), optional groups, files, splits (N,)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainers.blendshapes.names import ALL, FILE, GROUP, LABEL, SPLIT
from trainers.data import arrays
from trainers.data.refusal import Unusable

ALIASES = {"X": "features", "y": "labels", "paths": "files"}
"""Names that scikit-learn's users give to the keys; 52 features without names are MediaPipe's."""

KEYS = {"labels": LABEL, "groups": GROUP, "files": FILE, "splits": SPLIT}


def read(path: Path) -> tuple[list[str], list[tuple[int, Sequence[Any]]]]:
    """Return the column names and the rows, numbered from 1, in the layout of a CSV file. Raises Unusable."""
    with arrays.opened(path.read_bytes(), code="schema.layout") as archive:
        content = {key: archive[key] for key in archive}
    content = {ALIASES.get(k, k) if ALIASES.get(k) not in content else k: a for k, a in content.items()}
    if "features" in content and content["features"].shape[1:] == (len(ALL),):
        content.setdefault("names", np.array(ALL))
    for key in ("features", "names"):
        if key not in content:
            keys = ", ".join(content) or "nothing"
            raise Unusable(f"has no key {key}", f"it holds {keys}", code="schema.layout")
    values, columns = content["features"], [str(name) for name in _words(content["names"]).ravel()]
    if values.ndim != 2 or values.shape[1] != len(columns) or values.dtype.kind != "f":
        detail = f"{values.dtype} {values.shape} with {len(columns)} names"
        raise Unusable("features are not floating point (N, names)", detail, code="schema.layout")
    more = {column: content[key] for key, column in KEYS.items() if key in content}
    for column, cells in more.items():
        if cells.shape != (len(values),):
            detail = f"{cells.shape}, {len(values)} rows"
            raise Unusable(f"has not one {column} a row", detail, code="schema.layout")
    rows = zip(values.tolist(), *(_words(cells).tolist() for cells in more.values()), strict=True)
    return [*columns, *more], [(n, [*row, *rest]) for n, (row, *rest) in enumerate(rows, 1)]


def _words(cells: np.ndarray) -> np.ndarray:
    """The cells; those of bytes, as Python 2 and HDF5 write words, as text."""
    return np.char.decode(cells, "utf-8", "replace") if cells.dtype.kind == "S" else cells
