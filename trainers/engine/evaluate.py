"""A whole split through the model, shared out over the processes."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trainers.engine.distributed import Group
from trainers.engine.precision import autocast
from trainers.engine.task import Summary, Task


@dataclass(frozen=True)
class Result:
    """Loss, metrics and each sample's score (`correct`, in the order of the split)."""

    loss: float
    summary: Summary
    correct: list[float]


@torch.no_grad()
def evaluate(task: Task, model: nn.Module, split: str, group: Group, precision: str, together: int) -> Result:
    """Loss and metrics of a split, `together` samples at once, in eval mode; sums over all processes."""
    model.eval()
    size = task.size(split)
    sums = torch.zeros(2 + task.counts_size, dtype=torch.float64, device=group.device)
    correct = torch.zeros(size, device=group.device)
    for batch in _batches(task, split, range(group.rank, size, group.size), together):
        batch = batch.to(group.device)
        with autocast(precision, group.device):
            output = task.forward(model, batch)
        sums += torch.cat([torch.stack([output.loss, output.weight]), output.counts]).double()
        correct[batch.indices] = output.correct.float()
    loss, weight, *counts = group.sum(sums).tolist()
    return Result(loss / weight, task.summarise(counts), group.sum(correct).tolist())


def _batches(task: Task, split: str, mine: range, many: int) -> Iterator[Any]:
    """The samples of this process, `many` at once; with num_workers, the next are read meanwhile."""
    items = task.items(split)

    def read(start: int) -> Any:
        return task.collate([items[0, index] for index in mine[start : start + many]])

    ahead = task.config.num_workers
    if not ahead:
        yield from map(read, range(0, len(mine), many))
        return
    with ThreadPoolExecutor(ahead) as pool:
        waiting: deque[Future[Any]] = deque()
        for start in range(0, len(mine), many):
            waiting.append(pool.submit(read, start))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
