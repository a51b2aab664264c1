"""Rows as arrays, and balanced sampling of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from trainers.blendshapes.config import Config
from trainers.blendshapes.file_checks import Survey
from trainers.blendshapes.files import Row
from trainers.engine import rng


@dataclass(frozen=True)
class Data:
    """The usable rows with their splits."""

    listing: Survey

    @property
    def splits(self) -> dict[str, list[Row]]:
        """Split to its rows."""
        return self.listing.splits

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every usable row's values, label and split."""
        survey = self.listing
        lines = sorted(f"{r.content} {r.label} {survey.split_of[r.id]}" for r in survey.records)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def values_of(rows: Sequence[Row], config: Config) -> np.ndarray:
    """(N, F) float32, as MediaPipe gives them."""
    return np.array([row.values for row in rows], dtype=np.float32).reshape(len(rows), config.columns)


@lru_cache(maxsize=32)
def _order(size: int, key: int) -> np.ndarray:
    return rng.permutation(size, key)


@dataclass(frozen=True)
class Balanced:
    """Indices of an epoch that go round the classes; each class's rows come in an order of their own,
    drawn anew when all have had their turn. A pure function of (seed, epoch, index)."""

    members: tuple[np.ndarray, ...]
    seed: int

    @classmethod
    def of(cls, labels: np.ndarray, classes: int, seed: int) -> "Balanced":
        """From the labels (N,) of the rows."""
        return cls(tuple(np.flatnonzero(labels == label) for label in range(classes)), seed)

    def row(self, epoch: int, index: int) -> int:
        """The row at an index of an epoch."""
        turn, label = divmod(index, len(self.members))
        rows = self.members[label]
        lap, step = divmod(epoch * self.turns + turn, len(rows))
        return int(rows[_order(len(rows), rng.derive_seed(self.seed, rng.BALANCE, label, lap))[step]])

    @property
    def turns(self) -> int:
        """Rows of each class in an epoch: the mean of the classes' sizes."""
        return -(-sum(len(rows) for rows in self.members) // len(self.members))

    def __len__(self) -> int:
        return self.turns * len(self.members)
