"""Reads NPZ and NPY files. Never unpickles, and never passes on NumPy's advice to do so."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from trainers.data.refusal import Unusable

ZIP, NPY = b"PK", b"\x93NUMPY"


@contextmanager
def opened(content: bytes, kind: str = "NPZ", code: str = "schema.keys") -> Iterator[Any]:
    """What numpy.load returns for a file's content: an NpzFile, or an array if `kind` is `NPZ or NPY`.

    Raises Unusable with `code`, also for errors while its arrays are read; MemoryError is raised as it is.
    """
    if not content.startswith((ZIP, NPY) if "NPY" in kind else ZIP):
        raise Unusable(f"is no readable {kind}", f"it begins with {content[:8]!r}", code)
    try:
        arrays = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            yield arrays
        else:
            with arrays:
                yield arrays
    except (Unusable, MemoryError):
        raise
    except Exception as fault:  # zipfile, zlib, numpy and its header's parser raise a dozen types
        why = str(fault).split("\n")[0]
        why = "it holds Python objects instead of numbers" if "allow_pickle" in why else why
        raise Unusable(f"is no readable {kind}", why, code) from fault


def require_course(values: np.ndarray, least: int, unit: str) -> None:
    """Raise Unusable unless values (T, F) are finite, of `least` steps or more, and not all steps the same.

    `unit` is the word for a step in messages.
    """
    if len(values) < least:
        raise Unusable(f"has fewer than {least} {unit}s", f"it has {len(values)}")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise Unusable("holds NaN or infinity", f"{bad} of {values.size} values")
    if (values == values[0]).all():
        raise Unusable(f"every {unit} is the same")
