"""The cut between the engine and a trainer: what the loop asks of a task, and nothing more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from trainers.engine import health, metrics
from trainers.engine.config import LoopConfig
from trainers.engine.health import Finding
from trainers.engine.sampler import Key


class Batch(Protocol):
    """Samples put together; `indices` (B,) int64 tells which ones of their split."""

    @property
    def indices(self) -> Tensor:
        """(B,) int64."""
        ...

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        ...


class Output(NamedTuple):
    """What a forward pass gives: sums, so that parts of a batch add up.

    `loss` is the weighted sum over the samples, `weight` the sum of their weights: their quotient
    over the global batch is the loss. `counts` (K,) adds up to the metrics, `correct` (B,) is each
    sample's score, `logits` (B, …) the answers.
    """

    loss: Tensor
    weight: Tensor
    counts: Tensor
    correct: Tensor
    logits: Tensor


class Items(Protocol):
    """A dataset that is asked for (epoch, index)."""

    def __getitem__(self, key: Key) -> Any: ...


@dataclass(frozen=True)
class Summary:
    """Metrics of a split, with a confusion matrix where there is one."""

    values: dict[str, float]
    classes: list[str] | None = None
    confusion: list[list[int]] | None = None

    def doubts(self, best: float, epoch: int, settled: int, step: int) -> list[Finding]:
        """What a validation says of a model that learns nothing; `best` is the best balanced accuracy so far,
        `settled` the epochs since the run could be judged."""
        if settled != 5 or not self.classes:
            return []
        return health.above_chance(best, len(self.classes), epoch)

    def conclude(self, correct: Sequence[float], task: "Task", split: str) -> str:
        """Adds the interval over groups to `values`; the last word of a run in a few words."""
        values, groups = self.values, task.groups(split)
        low, high = metrics.bootstrap_interval(correct, groups, task.config.seed)
        values.update(accuracy_low=low, accuracy_high=high)
        drawn = metrics.drawn(groups)
        return (
            f"accuracy {values['accuracy']:.3f} (95 % {low:.3f} to {high:.3f}, {drawn} "
            f"drawn), balanced {values['balanced_accuracy']:.3f}, macro-F1 {values['macro_f1']:.3f}"
        )


class Task(Protocol):
    """Data, model and loss of one trainer."""

    @property
    def name(self) -> str:
        """The trainer's."""
        ...

    @property
    def config(self) -> LoopConfig:
        """The options."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """What the logits stand for."""
        ...

    @property
    def counts_size(self) -> int:
        """K of Output.counts."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of the content of the data."""
        ...

    def size(self, split: str) -> int:
        """Samples of a split; 0 where there is none."""
        ...

    def items(self, split: str) -> Items:
        """The samples of a split, normalised and ready to collate."""
        ...

    def names(self, split: str, indices: Sequence[int]) -> list[str]:
        """What a person calls these samples."""
        ...

    def groups(self, split: str) -> list[str]:
        """The group (actor, signer) of each sample."""
        ...

    def units(self, split: str) -> list[str]:
        """Of each sample, what a model tested on it must not have been trained on."""
        ...

    def collate(self, samples: list[Any]) -> Any:
        """A Batch, or None for no samples."""
        ...

    def build(self) -> nn.Module:
        """The model with its start weights, a function of the seed alone."""
        ...

    def forward(self, model: nn.Module, batch: Any) -> Output:
        """Loss and answers."""
        ...

    def summarise(self, counts: Sequence[float]) -> Summary:
        """Metrics from the sum of `counts`."""
        ...

    def preprocessing(self) -> dict[str, Any]:
        """All that `predict` needs to turn raw input into the model's."""
        ...


@runtime_checkable
class Baselined(Protocol):
    """A task that has a simple model to be beaten. Optional."""

    baseline_name: str

    def baseline(self, split: str) -> Summary:
        """The simple model's metrics on a split."""
        ...


@runtime_checkable
class Proving(Protocol):
    """A task whose checkpoints carry a proof that raw input still gives the stored logits. Optional."""

    def proof(self, model: nn.Module) -> dict[str, Any]:
        """Raw input and the model's answers to it, ready for JSON; stands in the manifest as `proof`.

        Leaves the model as it is.
        """
        ...


@runtime_checkable
class FineTuned(Protocol):
    """What a task may have besides: parts of its model that learn more slowly than others."""

    def rate_factors(self, model: nn.Module) -> dict[str, float]:
        """The share of the learning rate of each parameter, by its name."""
        ...


def rate_factors(task: Task, model: nn.Module) -> dict[str, float]:
    """What the task says, or nothing: all of the model learns at the same rate."""
    return task.rate_factors(model) if isinstance(task, FineTuned) else {}
