"""Loads the training batches, in this process or in worker processes."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader

from trainers.engine.distributed import Group
from trainers.engine.output import Batch
from trainers.engine.sampler import Key, Plan, Shares
from trainers.engine.trainer import Trainer
from trainers.engine.workers import let_the_parent_decide


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
