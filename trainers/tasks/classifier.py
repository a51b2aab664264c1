"""The base class of trainers whose samples have one class each."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainers.data import walk
from trainers.data.refusal import Unusable
from trainers.engine import health, leakage, metrics, rng
from trainers.engine.check import Check, on_data, on_model
from trainers.engine.checkpoint import Checkpoint
from trainers.engine.config import ClassifierConfig
from trainers.engine.evaluate import batches
from trainers.engine.events import Silent
from trainers.engine.health import DataUnusable
from trainers.engine.output import Output, Summary
from trainers.engine.trainer import Trainer
from trainers.tasks import classifier_checks, scores

T = TypeVar("T", bound="ClassifierTrainer")

EVALUATED = "evaluated"
"""Name of the split that holds the records of an evaluation."""


@dataclass(frozen=True)
class Sample:
    """One sample: `index` in its split, `label` as index in `classes`, encoded features, and the 32-bit key
    for CounterDropout."""

    index: int
    label: int
    features: Any
    key: int = 0


class Batch(NamedTuple):
    """A batch: features (B, …) float32; labels, keys and indices (B,) int64."""

    features: Tensor
    labels: Tensor
    keys: Tensor
    indices: Tensor

    def to(self, device: torch.device) -> "Batch":
        """A copy of the batch on a device."""
        return Batch(*(value.to(device, non_blocking=True) for value in self))


@dataclass(frozen=True)
class Reading:
    """Features that `predict` read from a file, or an error; `label` is the true class if known."""

    name: str
    features: Any = None
    label: str | None = None
    error: str = ""


class ClassifierTrainer(Trainer):
    """Base class with a cross entropy loss; a trainer implements `load`, `fit`, `model` and `read`.

    The records of its data have `id`, `group`, `label` (one of `classes`) and, unless `features` is
    overridden, `values`: a vector of numbers.
    """

    config: ClassifierConfig
    answers_compared: ClassVar[int] = 8
    """Maximum number of samples that the check `norm.saved` compares."""

    weights: Tensor
    """(C,) float32: the weight of each class in the loss."""

    # Samples

    def features(self, record: Any, split: str, epoch: int) -> Any:
        """The raw features of a record. Default: `record.values` as float32."""
        return np.asarray(record.values, dtype=np.float32)

    def label(self, record: Any) -> int:
        """The index of a record's class. Raises DataUnusable for a label that is not in `classes`."""
        if record.label not in self.classes:
            message = f"{record.id} is labelled {record.label}; the classes are {', '.join(self.classes)}"
            raise DataUnusable([health.error("labels.parse", message, "repair the label, or leave it out")])
        return self.classes.index(record.label)

    def encode(self, features: Any, index: int = 0, label: int = 0, key: int = 0) -> Any:
        """Convert raw features to a Sample, in training and prediction. Default: features as float32."""
        return Sample(index, label, np.asarray(features, dtype=np.float32), key)

    def sample(self, split: str, epoch: int, index: int) -> Any:
        """The record's encoded features with label and dropout key; see Trainer.sample."""
        record = self.splits[split][index]
        key = rng.dropout_key(self.config.seed, epoch, index)
        return self.encode(self.features(record, split, epoch), index, self.label(record), key)

    def collate(self, samples: Sequence[Any]) -> Any:
        """Stack the features of samples, which must have equal shape, to a Batch."""
        features = torch.stack([torch.as_tensor(sample.features) for sample in samples])
        return Batch(features, *labels_of(samples))

    # Loss and metrics

    @property
    def counts_size(self) -> int:
        """C * C: the counts are the confusion matrix, row by row."""
        return len(self.classes) ** 2

    def logits(self, model: nn.Module, batch: Any) -> Tensor:
        """Logits (B, C) of the model. Default: `model(batch.features)`."""
        answers: Tensor = model(batch.features)
        return answers

    def loss(self, model: nn.Module, batch: Any) -> Output:
        """Cross entropy, weighted by class, with the counts of the confusion matrix."""
        logits = self.logits(model, batch).float()
        smoothing = self.config.label_smoothing
        losses = cross_entropy(logits, batch.labels, reduction="none", label_smoothing=smoothing)
        return self.output(losses, logits, batch.labels)

    def output(self, losses: Tensor, logits: Tensor, labels: Tensor) -> Output:
        """The Output for losses (B,), logits (B, C) and labels (B,); applies the class weights."""
        weights = self.class_weights.to(logits.device)[labels]
        answers = logits.argmax(1)
        counts = torch.bincount(labels * len(self.classes) + answers, minlength=self.counts_size)
        correct = (answers == labels).to(logits.dtype)
        sums = ((losses * weights).sum(), weights.sum(), counts.to(logits.dtype))
        return Output(*sums, correct, logits, () if torch.is_grad_enabled() else logits.softmax(1))

    @property
    def class_weights(self) -> Tensor:
        """(C,) float32: N / (C n_c) over the training split, so that all classes have equal total weight.

        All ones without the option class_weights, and for a restored trainer.
        """
        if "weights" not in self.__dict__:
            self.weights = torch.ones(len(self.classes))
            if self.config.class_weights and hasattr(self, "data"):
                self.weights = class_weights(self.training_labels(), len(self.classes))
        return self.weights

    def training_labels(self) -> list[int]:
        """The class index of each training record."""
        return [self.label(record) for record in self.splits["train"]]

    def summarise(self, counts: Sequence[float]) -> Summary:
        """Metrics and confusion matrix from the summed counts."""
        return summary(counts, self.classes)

    def results(self, split: str, answers: Sequence[Any]) -> dict[str, Any]:
        """Metrics, table by class, confusion matrix, calibration and every wrong answer of a split."""
        return self._scores(self.splits[split], np.array(answers))

    def _scores(self, records: Sequence[Any], probabilities: np.ndarray) -> dict[str, Any]:
        truth = np.array([self.label(record) for record in records])
        names, groups = [str(record.id) for record in records], [str(record.group) for record in records]
        return scores.scores(truth, probabilities, self.classes, names, groups, self.config.seed)

    def expected_first_loss(self, batch: Any) -> float:
        """ln C, the loss of uniform probabilities."""
        return math.log(len(self.classes))

    def without_regularisation(self: T) -> T:
        """A trainer without label smoothing, with which the loss could not approach 0."""
        return self.replace(label_smoothing=0.0)

    # From a checkpoint

    def read(self, path: Path) -> Iterable[Reading]:
        """Read the samples of a file given to `predict`. Raises Unusable or DataUnusable."""
        raise NotImplementedError

    @torch.no_grad()
    def answers(self, features: Sequence[Any]) -> Tensor:
        """Logits (N, C) of the restored model for raw features of N samples."""
        if not features:
            return torch.zeros(0, len(self.classes))
        return self.logits(self.network, self.collate([self.encode(one) for one in features])).float()

    def predict(self, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
        """Yield class and probabilities for each sample of each file, or `file` and `error`."""
        for path in paths:
            try:
                walk.require_file(path)
                readings = list(self.read(path))
                if not readings:
                    raise Unusable("holds no sample")
                logits = iter(self.answers([one.features for one in readings if not one.error]))
            except (Unusable, DataUnusable) as fault:
                yield {"file": str(path), "error": str(fault)}
                continue
            for reading in readings:
                if reading.error:
                    yield {"file": reading.name, "error": reading.error}
                    continue
                truth = {} if reading.label is None else {"truth": reading.label}
                yield {"file": reading.name, **self.answer(next(logits)), **truth}

    def answer(self, logits: Tensor) -> dict[str, Any]:
        """The predicted label and the probability of each class, for logits (C,)."""
        probabilities = dict(zip(self.classes, logits.softmax(0).tolist(), strict=True))
        return {"label": max(probabilities, key=probabilities.__getitem__), "probabilities": probabilities}

    def evaluate(
        self, saved: Checkpoint, folders: Mapping[str, Path], split: str, work: Path
    ) -> dict[str, Any]:
        """Metrics of the checkpoint on a split of these folders. Raises DataUnusable."""
        data = self.load(self.config, folders, work, Silent())
        other = type(self)(self.config, data, self.preprocessing)
        records = leakage.records_of(data, split)
        if not records:
            raise DataUnusable(self.no_records(data, split))
        records, facts = leakage.evaluated(saved, data, split, records, other.content)
        other.splits = {**other.splits, EVALUATED: records}
        self.evaluated = records
        return {**facts, **self.report(other, records)}

    def report(self, other: "ClassifierTrainer", records: Sequence[Any]) -> dict[str, Any]:
        """The scores in the report of `evaluate`; `other` is a trainer whose split EVALUATED is `records`."""
        return self._scores(records, np.concatenate(list(self._probabilities(other, len(records)))))

    @torch.no_grad()
    def _probabilities(self, other: "ClassifierTrainer", count: int) -> Iterator[np.ndarray]:
        for batch in batches(other, EVALUATED, range(count), self.config.evaluate_batch):
            yield self.logits(self.network, batch).float().softmax(1).numpy()

    def no_records(self, data: Any, split: str) -> list[health.Finding]:
        """An error for a split without samples."""
        message = f"{split} holds no sample"
        return [health.error("labels.nonempty", message, "take another split, or other data", "data")]

    # Checks

    @classmethod
    def checks(cls, standard: Sequence[Check]) -> list[Check]:
        """The checks of groups, class balance and restored checkpoints, then `standard`."""
        return [
            on_data("split.groups", classifier_checks.groups),
            on_data("balance", classifier_checks.balance),
            on_model("norm.saved", classifier_checks.restored_answers),
            *standard,
        ]

    def reread(self, record: Any) -> Any:
        """The raw features of a record, read from its file again if possible. Default: `features`."""
        return self.features(record, "val", 0)


def labels_of(samples: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """The labels, keys and indices of samples, (B,) int64 each."""
    labels, keys, indices = (
        torch.tensor([getattr(sample, name) for sample in samples]) for name in ("label", "key", "index")
    )
    return labels, keys, indices


def class_weights(labels: Sequence[int], classes: int) -> Tensor:
    """Class weights (C,) float32: N / (C n_c), for N labels of which n_c are of class c."""
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=classes)
    return torch.tensor(len(labels) / (classes * np.maximum(counts, 1))).float()


def summary(counts: Sequence[float], classes: Sequence[str]) -> Summary:
    """Metrics and confusion matrix from summed Output.counts (C * C,)."""
    size = len(classes)
    confusion = np.asarray(counts).round().astype(int).reshape(size, size)
    return Summary(metrics.summarise(confusion), list(classes), confusion.tolist())
