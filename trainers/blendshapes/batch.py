"""Faces put together, raw: the model normalises them itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainers.blendshapes import data
from trainers.engine import rng
from trainers.engine.sampler import Key


@dataclass(frozen=True)
class Sample:
    """One face: raw values (F,), its class, and the 32-bit key of its dropout masks."""

    index: int
    label: int
    values: np.ndarray
    key: int = 0


class Batch(NamedTuple):
    """features (B, F) float32, raw; labels, keys and indices (B,)."""

    features: Tensor
    labels: Tensor
    keys: Tensor
    indices: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return Batch(*(value.to(device, non_blocking=True) for value in self))


def collate(samples: Sequence[Sample]) -> Batch | None:
    """Put together."""
    if not samples:
        return None
    features = torch.from_numpy(np.stack([sample.values for sample in samples]))
    labels, keys, indices = (
        torch.tensor([getattr(sample, name) for sample in samples]) for name in ("label", "key", "index")
    )
    return Batch(features, labels, keys, indices)


class Items:
    """A split's samples; with `balanced`, the rows that stand at the places of an epoch."""

    def __init__(self, split: data.Split, seed: int, balanced: data.Balanced | None) -> None:
        self.split, self.seed, self.balanced = split, seed, balanced

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        row = index if self.balanced is None else self.balanced.row(epoch, index)
        word = rng.derive_seed(self.seed, 3, epoch, index) & 0xFFFFFFFF
        return Sample(index, int(self.split.labels[row]), self.split.values[row], word)
