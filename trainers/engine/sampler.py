"""Assigns samples to steps and processes: pure functions of (size, seed, step)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trainers.engine import rng

Key = tuple[int, int]
"""(epoch, sample index): the key by which a dataset loads a sample."""


@lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    return rng.permutation(size, rng.derive_seed(seed, rng.ORDER, epoch))


@dataclass(frozen=True)
class Plan:
    """The order of samples in a whole run. The last batch of an epoch may be smaller."""

    size: int
    batch_size: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return -(-self.size // self.batch_size)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.steps_per_epoch * self.epochs

    def batch(self, step: int) -> list[Key]:
        """The keys of a step (counted from 0), for all processes together."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _order(self.size, self.seed, epoch)
        start = place * self.batch_size
        return [(epoch, int(index)) for index in order[start : start + self.batch_size]]


def share(batch: list[Key], rank: int, world: int, parts: int) -> list[list[Key]]:
    """The `parts` lists of keys for process `rank` of `world`; some are empty if the batch is small."""
    pieces = world * parts
    return [batch[rank * parts + part :: pieces] for part in range(parts)]


@dataclass(frozen=True)
class Shares:
    """A batch sampler for one process, from step `first` on: yields `parts` lists of keys per step."""

    plan: Plan
    rank: int
    world: int
    parts: int
    first: int

    def __iter__(self) -> Iterator[list[Key]]:
        for step in range(self.first, self.plan.steps):
            yield from share(self.plan.batch(step), self.rank, self.world, self.parts)

    def __len__(self) -> int:
        return (self.plan.steps - self.first) * self.parts
