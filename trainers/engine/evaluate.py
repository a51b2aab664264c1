"""Evaluates a model on a whole split, distributed over all processes."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trainers.engine.distributed import Group
from trainers.engine.output import Summary
from trainers.engine.precision import autocast
from trainers.engine.trainer import Trainer

SHOWN = 100
"""Maximum number of wrong answers, of classes and of pairs in the event `results`, which has one line."""


@dataclass(frozen=True)
class Result:
    """Loss and metrics of a split; Output.correct and Output.answers of each sample, in order."""

    loss: float
    summary: Summary
    correct: list[float]
    answers: list[Any]


@torch.no_grad()
def evaluate(
    trainer: Trainer,
    model: nn.Module,
    split: str,
    group: Group,
    precision: str,
    size: int,
    keep: bool = False,
) -> Result:
    """Evaluate a split in eval mode with batches of `size`; the result covers all processes.

    Output.answers is collected with `keep`, and if the trainer has any.
    """
    model.eval()
    samples = trainer.size(split)
    sums = torch.zeros(2 + trainer.counts_size, dtype=torch.float64, device=group.device)
    correct = torch.zeros(samples, device=group.device)
    answers: dict[int, Any] = {}
    for batch in batches(trainer, split, range(group.rank, samples, group.size), size):
        batch = batch.to(group.device)
        with autocast(precision, group.device):
            output = trainer.loss(model, batch)
        sums += torch.cat([torch.stack([output.loss, output.weight]), output.counts]).double()
        correct[batch.indices] = output.correct.float()
        if keep:
            predicted = output.answers
            rows = predicted.tolist() if isinstance(predicted, torch.Tensor) else predicted
            answers |= dict(zip(batch.indices.tolist(), rows, strict=False))
    loss, weight, *counts = group.sum(sums).tolist()
    answers = group.gather(answers) if keep else {}
    ordered = [answers[index] for index in sorted(answers)]
    return Result(loss / weight, trainer.summarise(counts), group.sum(correct).tolist(), ordered)


def batches(trainer: Trainer, split: str, indices: Sequence[int], size: int) -> Iterator[Any]:
    """Yield batches of `size` of these samples; with num_workers > 0, threads load batches ahead."""
    ahead = trainer.config.num_workers

    def read(start: int) -> Any:
        return trainer.collate([trainer.sample(split, 0, index) for index in indices[start : start + size]])

    if not ahead:
        yield from map(read, range(0, len(indices), size))
        return
    with ThreadPoolExecutor(ahead) as pool:
        waiting: deque[Future[Any]] = deque()
        for start in range(0, len(indices), size):
            waiting.append(pool.submit(read, start))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def shortened(results: Mapping[str, Any]) -> dict[str, Any]:
    """The results with at most SHOWN entries in each list, and without a larger confusion matrix.

    `wrong` and `confused` begin with the worst; of `per_class`, the most frequent classes are kept.
    """
    short = dict(results)
    for name in ("wrong", "confused"):
        if name in short:
            short[name] = short[name][:SHOWN]
    classes = short.get("per_class", {})
    if len(classes) > SHOWN:
        most = sorted(classes, key=lambda name: -classes[name]["count"])[:SHOWN]
        short["per_class"] = {name: classes[name] for name in most}
        short.pop("confusion", None)
        short.pop("classes", None)
    return short
