"""From a plan to collated batches, in this process or in workers."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from trainers.engine.config import LoopConfig
from trainers.engine.distributed import Group
from trainers.engine.sampler import Plan, Shares
from trainers.engine.task import Task
from trainers.engine.workers import let_the_parent_decide


def stream(task: Task, config: LoopConfig, plan: Plan, group: Group, first: int) -> Iterator[Any]:
    """The parts of each step for this process, from step `first` to the end of the run."""
    shares = Shares(plan, group.rank, group.size, config.accumulate, first)
    loader: DataLoader[Any] = DataLoader(
        task.items("train"),  # type: ignore[arg-type]
        batch_sampler=shares,
        collate_fn=task.collate,
        num_workers=config.num_workers,
        worker_init_fn=let_the_parent_decide,
        pin_memory=group.device.type == "cuda",
    )
    return iter(loader)
