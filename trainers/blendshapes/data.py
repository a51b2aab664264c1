"""Rows as arrays, and which row each place of an epoch holds."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from trainers.blendshapes import files
from trainers.blendshapes.config import Config
from trainers.blendshapes.files import Listing, Row
from trainers.engine import rng


@dataclass(frozen=True)
class Split:
    """The rows of a split: values (N, F) float32 as MediaPipe gives them, labels (N,) int64."""

    rows: tuple[Row, ...]
    values: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Data:
    """All that was read, and the usable rows by split."""

    listing: Listing
    home: Mapping[str, str]
    splits: Mapping[str, Split]

    @property
    def fingerprint(self) -> str:
        """A hash of every usable row's values, label and split."""
        lines = sorted(f"{r.content} {r.label} {self.home[r.id]}" for r in self.listing.rows)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def load(config: Config, folders: Mapping[str, Path]) -> Data:
    """Read everything below the folders."""
    listing = files.scan(folders, config)
    home = files.split_rows(listing.rows, config)
    held = files.by_split(listing.rows, home)
    return Data(listing, home, {split: arrays(rows, config) for split, rows in held.items()})


def arrays(rows: Sequence[Row], config: Config) -> Split:
    """Rows put together."""
    values = np.array([row.values for row in rows], dtype=np.float32).reshape(len(rows), config.columns)
    labels = np.array([config.classes.index(row.label) for row in rows], dtype=np.int64)
    return Split(tuple(rows), values, labels)


@lru_cache(maxsize=32)
def _order(size: int, key: int) -> np.ndarray:
    return rng.permutation(size, key)


@dataclass(frozen=True)
class Balanced:
    """Places of an epoch that go round the classes; each class's rows come in an order of their own,
    drawn anew when all have had their turn. A pure function of (seed, epoch, place)."""

    members: tuple[np.ndarray, ...]
    seed: int

    @classmethod
    def of(cls, labels: np.ndarray, classes: int, seed: int) -> "Balanced":
        """From the labels (N,) of the rows."""
        return cls(tuple(np.flatnonzero(labels == label) for label in range(classes)), seed)

    def row(self, epoch: int, place: int) -> int:
        """The row that stands at a place of an epoch."""
        turn, label = divmod(place, len(self.members))
        rows = self.members[label]
        lap, step = divmod(epoch * self.turns + turn, len(rows))
        return int(rows[_order(len(rows), rng.derive_seed(self.seed, 6, label, lap))[step]])

    @property
    def turns(self) -> int:
        """Rows of each class in an epoch: the mean of the classes' sizes."""
        return -(-sum(len(rows) for rows in self.members) // len(self.members))

    def __len__(self) -> int:
        return self.turns * len(self.members)
