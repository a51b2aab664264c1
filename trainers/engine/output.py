"""The types that a trainer and the training loop exchange: batches, losses, metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from trainers.engine import health, metrics
from trainers.engine.health import Finding

PLATEAU_EPOCHS = 5
"""Epochs after the warm-up until a model that is no better than chance is reported."""


class Batch(Protocol):
    """Collated samples. `indices` (B,) int64 are their positions in the split."""

    @property
    def indices(self) -> Tensor:
        """Positions (B,) int64 of the samples in their split."""
        ...

    def to(self, device: torch.device) -> "Batch":
        """A copy of the batch on a device."""
        ...


class Output(NamedTuple):
    """The result of `Trainer.loss` for a batch of B samples: sums, so that parts of a batch add up.

    `loss`: scalar, the weighted sum of the samples' losses (nats). `weight`: scalar, the sum of their
    weights; the loop minimises loss / weight of the global batch. `counts` (K,): the loop sums them over a
    split and passes the sum to `summarise`. `correct` (B,): the score of each sample (1 or
    0 for a classifier, edits for CTC). `logits` (B, …): the model's logits. `answers`: in evaluation, what
    `Trainer.results` needs of each sample, as a tensor (B, …) or a sequence of JSON values; may be empty.
    """

    loss: Tensor
    weight: Tensor
    counts: Tensor
    correct: Tensor
    logits: Tensor
    answers: Tensor | Sequence[Any] = ()


@dataclass(frozen=True)
class Summary:
    """Metrics of a split by name; classifiers add a confusion matrix (rows are the true classes)."""

    values: dict[str, float]
    classes: list[str] | None = None
    confusion: list[list[int]] | None = None

    def plateau(self, best: float, epoch: int, settled: int, step: int) -> list[Finding]:
        """Findings about a model that does not learn; called after each validation. An error ends the run.

        `best` is the best balanced accuracy so far, `settled` the epochs since the warm-up ended, `step` the
        optimizer steps so far.
        """
        if settled != PLATEAU_EPOCHS or not self.classes:
            return []
        return health.above_chance(best, len(self.classes), epoch)

    def conclude(self, correct: Sequence[float], records: Sequence[Any], seed: int) -> str:
        """Add the 95 % interval (bootstrap over groups) to `values`; returns the closing sentence of the run.

        `correct` holds Output.correct of each record.
        """
        values, groups = self.values, [record.group for record in records]
        low, high = metrics.bootstrap_interval(correct, groups, seed)
        values.update(accuracy_low=low, accuracy_high=high)
        unit = metrics.resampled(groups)
        return (
            f"accuracy {values['accuracy']:.3f} (95 % {low:.3f} to {high:.3f}, {unit} "
            f"resampled), balanced {values['balanced_accuracy']:.3f}, macro-F1 {values['macro_f1']:.3f}"
        )
