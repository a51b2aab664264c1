"""A whole split through the model, shared out over the processes."""

from dataclasses import dataclass

import torch
from torch import nn

from trainers.engine.distributed import Group
from trainers.engine.precision import autocast
from trainers.engine.task import Summary, Task

BATCH = 64


@dataclass(frozen=True)
class Result:
    """Loss, metrics and each sample's score (`hits`, in the order of the split)."""

    loss: float
    summary: Summary
    hits: list[float]


@torch.no_grad()
def evaluate(task: Task, model: nn.Module, split: str, group: Group, precision: str) -> Result:
    """Loss and metrics of a split, in eval mode and float sums over all processes."""
    model.eval()
    size, items = task.size(split), task.items(split)
    sums = torch.zeros(2 + task.counts_size, dtype=torch.float64, device=group.device)
    hits = torch.zeros(size, device=group.device)
    mine = range(group.rank, size, group.size)
    for start in range(0, len(mine), BATCH):
        batch = task.collate([items[0, index] for index in mine[start : start + BATCH]])
        batch = batch.to(group.device)
        with autocast(precision, group.device):
            output = task.forward(model, batch)
        sums += torch.cat([torch.stack([output.loss, output.weight]), output.counts]).double()
        hits[batch.places] = output.hits.float()
    loss, weight, *counts = group.sum(sums).tolist()
    return Result(loss / weight, task.summarise(counts), group.sum(hits).tolist())
