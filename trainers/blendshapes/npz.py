"""Reads NPZ files: `features` (N, F), `names` (F,), `labels` (N,), optional groups, files, splits (N,)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainers.blendshapes.names import ALL, FILE, GROUP, LABEL, SPLIT
from trainers.data.refusal import Unusable

ALIASES = {"X": "features", "y": "labels", "paths": "files"}
"""Names that scikit-learn's users give to the keys; 52 features without names are MediaPipe's."""

KEYS = {"labels": LABEL, "groups": GROUP, "files": FILE, "splits": SPLIT}


def read(path: Path) -> tuple[list[str], list[tuple[int, Sequence[Any]]]]:
    """Return the column names and the rows, numbered from 1, in the layout of a CSV file. Raises Unusable."""
    try:
        # Opened here because numpy leaves the file open if the archive is truncated.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive}
    except Exception as fault:  # zipfile, zlib, numpy and its header's parser raise a dozen exception types
        raise Unusable("is no readable NPZ", str(fault).split("\n")[0], code="schema.layout") from fault
    arrays = {
        ALIASES.get(key, key) if ALIASES.get(key) not in arrays else key: a for key, a in arrays.items()
    }
    if "features" in arrays and arrays["features"].shape[1:] == (len(ALL),):
        arrays.setdefault("names", np.array(ALL))
    for key in ("features", "names"):
        if key not in arrays:
            keys = ", ".join(arrays) or "nothing"
            raise Unusable(f"has no key {key}", f"it holds {keys}", code="schema.layout")
    values, columns = arrays["features"], [str(name) for name in arrays["names"]]
    if values.ndim != 2 or values.shape[1] != len(columns) or values.dtype.kind != "f":
        detail = f"{values.dtype} {values.shape} with {len(columns)} names"
        raise Unusable("features are not floating point (N, names)", detail, code="schema.layout")
    more = {column: arrays[key] for key, column in KEYS.items() if key in arrays}
    for column, cells in more.items():
        if cells.shape != (len(values),):
            detail = f"{cells.shape}, {len(values)} rows"
            raise Unusable(f"has not one {column} a row", detail, code="schema.layout")
    rows = zip(values.tolist(), *(cells.tolist() for cells in more.values()), strict=True)
    return [*columns, *more], [(n, [*row, *rest]) for n, (row, *rest) in enumerate(rows, 1)]
