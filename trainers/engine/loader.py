"""Assigns samples to steps and processes, pure functions of (size, seed, step), and loads the batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from trainers.engine import rng
from trainers.engine.distributed import Group
from trainers.engine.output import Batch
from trainers.engine.trainer import Trainer
from trainers.engine.workers import let_the_parent_decide

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
        epoch, batch = divmod(step, self.steps_per_epoch)
        order = _order(self.size, self.seed, epoch)
        start = batch * self.batch_size
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


class Samples:
    """A dataset for DataLoader: the samples of a split, indexed by (epoch, index)."""

    def __init__(self, trainer: Trainer, split: str) -> None:
        self.trainer, self.split = trainer, split

    def __getitem__(self, key: Key) -> Any:
        return self.trainer.sample(self.split, *key)

    def collate(self, samples: Sequence[Any]) -> Batch | None:
        """Collate samples to a batch; None if the process's share of a small batch is empty."""
        return self.trainer.collate(samples) if samples else None


def stream(trainer: Trainer, plan: Plan, group: Group, first: int) -> Iterator[Any]:
    """Iterate over this process's batches from step `first` to the end of the run, `accumulate` per step."""
    config, samples = trainer.config, Samples(trainer, "train")
    loader: DataLoader[Any] = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=Shares(plan, group.rank, group.size, config.accumulate, first),
        collate_fn=samples.collate,
        num_workers=config.num_workers,
        worker_init_fn=let_the_parent_decide,
        pin_memory=group.device.type == "cuda",
    )
    return iter(loader)
