"""The rows as arrays, and class-balanced sampling of rows."""

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
        """The rows of each split."""
        return self.listing.splits

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every usable row's values, label and split."""
        survey = self.listing
        lines = sorted(f"{r.digest} {r.label} {survey.split_of[r.id]}" for r in survey.records)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def values_of(rows: Sequence[Row], config: Config) -> np.ndarray:
    """Return the raw scores of the rows, (N, F) float32."""
    return np.array([row.values for row in rows], dtype=np.float32).reshape(len(rows), config.columns)


def scaled(rows: Sequence[Row], config: Config) -> np.ndarray:
    """Return the scores of the rows as the model normalises them: with `sqrt`, their square roots."""
    values = values_of(rows, config)
    return np.sqrt(values) if config.normalise == "sqrt" else values


@lru_cache(maxsize=32)
def _order(size: int, key: int) -> np.ndarray:
    return rng.permutation(size, key)


@dataclass(frozen=True)
class Balanced:
    """Maps each index of an epoch to a row so that all classes occur equally often.

    Consecutive indices cycle through the classes. The rows of a class are shuffled, and reshuffled after each
    has been used once. The mapping is a pure function of (seed, epoch, index).
    """

    members: tuple[np.ndarray, ...]
    seed: int

    @classmethod
    def of(cls, labels: np.ndarray, classes: int, seed: int) -> "Balanced":
        """Build it from the class indices (N,) of the rows."""
        return cls(tuple(np.flatnonzero(labels == label) for label in range(classes)), seed)

    def row(self, epoch: int, index: int) -> int:
        """Return the row number for an index of an epoch."""
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
