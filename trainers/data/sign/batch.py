"""Samples (sentences) and padded batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainers.data.sign.augment import Course
from trainers.data.sign.files import Record


@dataclass(frozen=True)
class Sample:
    """One sentence: `course` (frames), `record` (with the reference for WER), `target` (gloss ids), `key` (32
    bits, for dropout), a teacher's logits (T', V) or None, and whether this is an epoch of the flat start."""

    index: int
    course: Course
    record: Record | None = None
    target: tuple[int, ...] = ()
    key: int = 0
    teacher: np.ndarray | None = field(default=None, repr=False)
    flat: bool = False


class Batch(NamedTuple):
    """A padded batch: raw (B, T, 1629), not normalised, zero beyond each length; `lengths` (B,) on the CPU.

    `shown` (B, T) is 0 for frames hidden by augmentation; `teacher` (B, T, V) float16 are the teacher's
    logits at each frame; `flat` applies to all samples, which are of one epoch.
    """

    raw: Tensor
    shown: Tensor
    lengths: Tensor
    targets: list[list[int]]
    records: list[Record | None]
    keys: Tensor
    indices: Tensor
    teacher: Tensor | None
    flat: bool

    def to(self, device: torch.device) -> "Batch":
        """A copy of the batch on a device, except `lengths`."""
        moved = {
            name: value.to(device, non_blocking=True)
            for name in ("raw", "shown", "keys", "indices", "teacher")
            if (value := getattr(self, name)) is not None
        }
        return self._replace(**moved)


def collate(samples: Sequence[Sample]) -> Batch:
    """Pad samples to the longest and combine them to a batch."""
    lengths = torch.tensor([len(sample.course.raw) for sample in samples])
    steps = int(lengths.max())
    courses = [sample.course for sample in samples]
    keys, indices = (torch.tensor([getattr(s, name) for s in samples]) for name in ("key", "index"))
    return Batch(
        _padded([course.raw for course in courses], steps),
        _padded([~course.hidden for course in courses], steps).float(),
        lengths,
        [list(sample.target) for sample in samples],
        [sample.record for sample in samples],
        keys,
        indices,
        _teachers(samples, steps),
        samples[0].flat,
    )


def _padded(parts: Sequence[np.ndarray], steps: int) -> Tensor:
    shape = (len(parts), steps, *parts[0].shape[1:])
    padded = np.zeros(shape, np.result_type(*{part.dtype for part in parts}))
    for row, part in enumerate(parts):
        padded[row, : len(part)] = part
    return torch.from_numpy(padded)


def _teachers(samples: Sequence[Sample], steps: int) -> Tensor | None:
    """The teacher's logits (B, T, V) at the original position of each frame; None without a teacher."""
    if samples[0].teacher is None:
        return None
    return _padded([_at_frames(sample) for sample in samples], steps)


def _at_frames(sample: Sample) -> np.ndarray:
    assert sample.teacher is not None
    source = sample.course.source
    stride = (source[-1] + 1) / len(sample.teacher)
    indices = np.minimum((source / stride).astype(int), len(sample.teacher) - 1)
    return np.asarray(sample.teacher[indices])
