"""Reads feature files: one landmark sequence each, with strict checks of keys, shape and values."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from trainers.data import arrays
from trainers.data.landmarks import FULL, LANDMARKS, RAW, Layout
from trainers.data.refusal import Unusable, read_or_stop
from trainers.data.walk import require_content

KEYS = ("features", "feature", "arr_0")
"""Keys of an NPZ that may hold the features; the first that exists is read."""

MASKS = "detection_masks"

POSE_WITH_VISIBILITY = 33 * 4
WITH_VISIBILITY = RAW + 33
"""Columns of frames whose pose has a fourth value for each point, before face and hands."""

FARTHEST = 10.0
"""Coordinates are fractions of the picture; a larger one is in pixels or normalised."""


FEWEST = 5
"""Minimum number of landmarks that vanish in the same frames to count as a hand or face."""


@dataclass(frozen=True)
class Landmarks:
    """Raw columns (T, 1629) float16, and the fraction of zero landmarks that the masks mark as missing
    (`agreement`, None if unknown)."""

    raw: np.ndarray
    agreement: float | None


def derive(raw: np.ndarray) -> np.ndarray:
    """Derive (T, 4887) float32 from raw (T, 1629): raw, velocity, acceleration, as the public extractor does.

    velocity[t] = x[t] - x[t-1], acceleration[t] = velocity[t] - velocity[t-1]; the first frames, which
    have no predecessor, get the first defined value, or 0.
    """
    raw = raw.astype(np.float32)
    velocity, acceleration = np.zeros_like(raw), np.zeros_like(raw)
    if len(raw) > 1:
        velocity[1:] = raw[1:] - raw[:-1]
        velocity[0] = velocity[1]
    if len(raw) > 2:
        acceleration[2:] = velocity[2:] - velocity[1:-1]
        acceleration[:2] = acceleration[2]
    return np.concatenate([raw, velocity, acceleration], 1)


def widen(raw: np.ndarray) -> np.ndarray:
    """Expand raw (T, 1629) to the full width (T, 6516): raw, velocity, acceleration, raw again."""
    derived = derive(raw)
    return np.concatenate([derived, derived[:, :RAW]], 1)


def read(path: Path, min_frames: int) -> Landmarks:
    """Read a feature file. Raises Unusable for bad content, Unread for an error of the system.

    Of the 1,662 columns that Holistic's examples write, the visibility of the pose's 33 points is dropped.
    """
    require_content(path)
    with read_or_stop(path):
        return _judged(*_parsed(path.read_bytes()), min_frames)


def _judged(values: np.ndarray, masks: np.ndarray | None, min_frames: int) -> Landmarks:
    if values.ndim == 2 and values.shape[1] == WITH_VISIBILITY:
        values = np.delete(values, np.arange(3, POSE_WITH_VISIBILITY, 4), axis=1)
    _judge(values, min_frames)
    if values.shape[1] == FULL:
        _judge_temporal(values)
    with np.errstate(over="ignore"):
        raw = np.ascontiguousarray(values[:, :RAW], dtype=np.float16)
    if not np.isfinite(raw).all():
        raise Unusable("holds values that landmarks do not have", f"up to {np.abs(values).max():.3g}")
    return Landmarks(raw, None if masks is None else _agreement(raw, masks))


def _parsed(content: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """The features, and the detection masks or None."""
    with arrays.opened(content, "NPZ or NPY") as archive:
        if isinstance(archive, np.ndarray):
            return archive, None
        keys = list(archive.keys())
        key = next((key for key in KEYS if key in keys), None)
        if key is None:
            raise Unusable(f"has no key {' or '.join(KEYS)}", f"it holds {', '.join(keys) or 'nothing'}")
        return archive[key], archive[MASKS] if MASKS in keys else None


def _judge(values: np.ndarray, least: int) -> None:
    if values.ndim != 2 or values.shape[1] not in (RAW, FULL):
        raise Unusable(f"the features are not (T, {FULL}) or (T, {RAW})", f"they are {values.shape}")
    if values.dtype.kind != "f":
        raise Unusable("the features are not of floating point", f"they are {values.dtype}")
    arrays.require_course(values, least, "frame")


def _judge_temporal(values: np.ndarray) -> None:
    """Raise Unusable unless the last 4,887 columns equal those derived from raw, as only raw is stored."""
    raw = values[:, :RAW]
    rounding = float(np.finfo(values.dtype).eps) * max(1.0, float(np.abs(raw).max()))
    made = widen(raw)[:, RAW:]
    off = np.abs(made - values[:, RAW:].astype(np.float32)).max(0)
    wrong = np.flatnonzero(off > max(8 * rounding, 1e-5))
    if len(wrong):
        detail = f"{len(wrong)} of {len(off)} differ, the first is column {RAW + wrong[0]}"
        raise Unusable("the temporal columns are not velocity, acceleration and raw", detail, "schema.layout")


def _agreement(raw: np.ndarray, masks: np.ndarray) -> float | None:
    if masks.shape != (len(raw), LANDMARKS):
        raise Unusable(f"{MASKS} is not (T, {LANDMARKS})", f"it is {masks.shape}")
    zero = ~present(raw)
    return float((masks == 0)[zero].mean()) if zero.any() else None


def present(raw: np.ndarray) -> np.ndarray:
    """(T, 543) bool: whether the landmark was detected (has a coordinate other than 0)."""
    presence: np.ndarray = (raw.reshape(len(raw), LANDMARKS, 3) != 0).any(2)
    return presence


def missing_groups(raw: np.ndarray, layout: Layout) -> list[str]:
    """The groups of landmarks that were detected in no frame of raw (T, 1629)."""
    detected: np.ndarray = np.asarray(present(raw).any(0))
    return [
        name.replace("_", " ")
        for name, (first, end) in layout.groups.items()
        if not detected[first // 3 : end // 3].any()
    ]


def misplaced(presence: Sequence[np.ndarray], layout: Layout) -> tuple[list[tuple[int, int]], bool]:
    """Ranges of landmarks that are missing in the same frames but are not whole groups of the layout, and
    whether any range is missing. Shorter ranges than FEWEST are left out."""
    edges = {edge // 3 for group in layout.groups.values() for edge in group}
    spans = [(first, end) for first, end in runs(presence) if end - first >= FEWEST]
    return [span for span in spans if not edges >= set(span)], bool(spans)


def runs(presence: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Ranges [first, end) of landmarks that are missing in exactly the same frames."""
    pattern = np.concatenate([part.astype(np.int8) for part in presence])
    same = (pattern[:, 1:] == pattern[:, :-1]).all(0)
    edges = [0, *(np.flatnonzero(~same) + 1).tolist(), pattern.shape[1]]
    spans = pairwise(edges)
    comes_and_goes = (pattern.min(0) == 0) & (pattern.max(0) == 1)
    return [(first, end) for first, end in spans if comes_and_goes[first]]
