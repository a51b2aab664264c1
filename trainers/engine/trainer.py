"""The base class of every trainer.

A trainer is a folder of `trainers/` with two modules:

`config.py` (standard library only) describes it: TITLE (one line), DATA (name of a data folder to a
description of its content), Config (the options, a frozen dataclass derived from LoopConfig or
ClassifierConfig). trainers/registry.py lists the optional declarations.

`trainer.py` holds one class, a subclass of `Trainer` or, better, of `ClassifierTrainer` or `CTCTrainer` in
trainers/tasks, which implement most of the methods below. docs/add-a-trainer.md builds one step by step.

A trainer object is created in one of two ways. For a training it is created from options and data, and `fit`
computes the preprocessing (how raw input becomes the model's input). From a checkpoint (`restore`) it is
created from the saved options and preprocessing; it has no data, and `network` is the trained model. Set up
what both need in `setup`.

For CTC: `fit` returns the vocabulary as `classes`, the normalisation and the decoder; `setup` creates objects
from them; `model` uses them. `counts_size` and `summarise` count word errors, `Output.correct` holds the
edits of each sample, `expected_first_loss` is the loss of uniform answers, `without_regularisation` trains
with the CTC loss alone, and `checks` replaces `overfit` by a check that compares words:
`[*own, *without(standard, "overfit")]`.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import nn

from trainers.engine import checkpoint, rng
from trainers.engine.check import Check
from trainers.engine.checkpoint import Checkpoint, Damaged
from trainers.engine.config import LoopConfig, parse
from trainers.engine.dataset import Dataset
from trainers.engine.events import Events
from trainers.engine.export import Exportable, NoExport
from trainers.engine.output import Batch, Output, Summary
from trainers.engine.plots import Columns

T = TypeVar("T", bound="Trainer")


class Trainer(ABC):
    """Base class: data, model, loss and metrics of one trainer. Members without a default are abstract."""

    name: ClassVar[str]
    """The folder's name with `-` for `_`. Checkpoints store it."""

    options: ClassVar[type[LoopConfig]]
    """The options class: Config of the trainer's `config` module."""

    head: ClassVar[str] = "answer"
    """The model's layer whose outputs are the classes; with `init_head: skip` it may be trained anew."""

    own_buffers: ClassVar[tuple[str, ...]] = ()
    """The model's buffers that hold statistics of the training split; `init_from` does not load them."""

    baseline_name: ClassVar[str] = ""
    """The name of the simple model of `baseline`; empty if there is none."""

    config: LoopConfig
    data: Any
    """The return value of `load`. Not set on a restored trainer."""

    splits: dict[str, Sequence[Any]]
    """The records of each split. Not set on a restored trainer."""

    fingerprint: str
    preprocessing: dict[str, Any]
    """The return value of `fit`; the manifest of every checkpoint stores it."""

    work: Path = Path()
    """A folder for temporary files of the checks. Set by `check`."""

    job_options: Sequence[str] = ()
    """The options that the job sets. Set by `check`."""

    initial: Path | None = None
    """The checkpoint or weights of the option `init_from`. Set by `check` and `train`."""

    evaluated: Sequence[Any] = ()
    """The records that `evaluate` counted. Set by it."""

    network: nn.Module
    """The trained model in eval mode, on the CPU. Set on a restored trainer only."""

    def __init__(
        self, config: LoopConfig, data: Dataset | None = None, preprocessing: Mapping[str, Any] | None = None
    ) -> None:
        self.config = config
        if data is not None:
            self.data, self.splits, self.fingerprint = data, dict(data.splits), data.fingerprint
        self.preprocessing = self.fit() if preprocessing is None else dict(preprocessing)
        self.setup()

    # Data

    @classmethod
    def open(cls: type[T], config: Any, folders: Mapping[str, Path], cache: Path, events: Events) -> T:
        """Load the data folders and create a trainer with them; see `load`."""
        return cls(config, cls.load(config, folders, cache, events))

    @classmethod
    @abstractmethod
    def load(cls, config: Any, folders: Mapping[str, Path], cache: Path, events: Events) -> Dataset:
        """Read the data folders that exist; `folders` maps their names in DATA to paths.

        `cache` is a folder for results that are expensive to compute; it may be deleted between runs. Rank 0
        calls this first, then the other processes. Raises DataUnusable with findings.
        """

    @abstractmethod
    def fit(self) -> dict[str, Any]:
        """The preprocessing as JSON: `classes` (in the order of the logits), statistics of the training
        split, names of columns. Called once, at the start of a training."""

    def setup(self) -> None:  # noqa: B027 - optional
        """Build objects from `config` and `preprocessing`, and from `data` where it is set.

        Called at the end of the constructor, for a training and for a restored trainer. Raises ValueError or
        KeyError if the preprocessing of a checkpoint is of another version. Default: does nothing.
        """

    def size(self, split: str) -> int:
        """The number of samples of a split in one epoch. Default: the number of its records."""
        return len(self.splits[split])

    @abstractmethod
    def sample(self, split: str, epoch: int, index: int) -> Any:
        """Sample `index` of a split, ready to collate. Called in loader processes.

        Augmentation (in `train`) must be a pure function of (seed, epoch, index): use rng.derive_seed.
        """

    @abstractmethod
    def collate(self, samples: Sequence[Any]) -> Batch:
        """Combine one or more samples to a batch."""

    def names(self, split: str, indices: Sequence[int]) -> list[str]:
        """The names of these samples for messages. Default: the records' ids."""
        return [str(self.splits[split][index].id) for index in indices]

    def groups(self, split: str) -> list[str]:
        """The group of each sample of a split. Default: the records' groups."""
        return [str(record.group) for record in self.splits[split]]

    def contents(self, split: str) -> list[str]:
        """The `content` of each sample of a split."""
        return [self.content(record) for record in self.splits[split]]

    def content(self, record: Any) -> str:
        """A hash of what the model reads of a record, or nothing. Default: its attribute `content`."""
        return str(getattr(record, "content", ""))

    # Model

    @abstractmethod
    def model(self) -> nn.Module:
        """The model with initial weights; torch's generator is seeded before the call.

        It may depend on `config` and `preprocessing` only, so that a checkpoint can be loaded without data.
        """

    def build(self) -> nn.Module:
        """`model()` with initial weights that depend only on the option `seed`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rng.derive_seed(self.config.seed, rng.WEIGHTS) >> 1)
            return self.model()

    def rate_factors(self, model: nn.Module) -> dict[str, float]:
        """Parameter name to its factor of the learning rate; 1 if not named. Default: 1 for all."""
        return {}

    # Loss and metrics

    @property
    @abstractmethod
    def counts_size(self) -> int:
        """K, the length of Output.counts."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in the order of the logits. Default: `classes` of `preprocessing`."""
        return tuple(self.preprocessing["classes"])

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Output:
        """Loss and logits of a batch, in training and in evaluation (see `model.training`)."""

    @abstractmethod
    def summarise(self, counts: Sequence[float]) -> Summary:
        """Metrics of a split from its Output.counts (K,), summed over all batches."""

    def results(self, split: str, answers: Sequence[Any]) -> dict[str, Any]:
        """The results on a split as JSON (docs/contract.md#results), from Output.answers of its samples.

        Called at the end of a training if Output.answers is not empty. Default: empty.
        """
        return {}

    def baseline(self, split: str) -> Summary:
        """Metrics of a simple model to compare with. Called only if `baseline_name` is not empty."""
        raise NotImplementedError

    # Checkpoints

    def proof(self, model: nn.Module) -> dict[str, Any] | None:
        """Raw input and the model's answers to it, as JSON, for the manifest's `proof`; must not change the
        model. Default: None."""
        return None

    @classmethod
    def restore(cls: type[T], saved: Checkpoint) -> T:
        """The trainer of a checkpoint, with `network` in eval mode.

        Loads strictly: raises Damaged if the checkpoint is of another trainer or version.
        """
        manifest = saved.manifest
        config, findings = parse(cls.options, manifest.get("config", {}))
        if findings or manifest["trainer"] != cls.name or not manifest.get("preprocessing"):
            why = f": {findings[0].message}" if findings else ""
            raise Damaged(f"{saved.path} is no checkpoint of this version of {cls.name}{why}")
        try:
            trainer = cls(config, preprocessing=manifest["preprocessing"])
        except (KeyError, TypeError, ValueError) as fault:
            raise Damaged(f"{saved.path} is no checkpoint of this version of {cls.name}: {fault}") from fault
        trainer.network = trainer.build()
        checkpoint.load_weights(trainer.network, saved)
        trainer.network.eval()
        return trainer

    @abstractmethod
    def predict(self, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
        """Yield a restored trainer's answer to each file, as JSON: `file` and the answer, or `error`."""

    @abstractmethod
    def evaluate(
        self, saved: Checkpoint, folders: Mapping[str, Path], split: str, work: Path
    ) -> dict[str, Any]:
        """Metrics of a restored trainer on a split of these folders (`all`: every usable sample), as JSON.

        `saved` is its checkpoint, `work` an empty folder. Raises DataUnusable.
        """

    def columns(self, records: Sequence[Any]) -> Columns | None:
        """The raw input of records as a table for the figures of `evaluate --plots`. Default: None."""
        return None

    def picture(self, record: Any, folder: Path | None) -> np.ndarray | None:
        """A picture (H, W, 3) uint8 of a record, for the contact sheet of `evaluate --plots`. Default: None.

        `folder` holds the pictures that records name, if the user has given it.
        """
        return None

    def exportable(self, saved: Checkpoint) -> Exportable:
        """The module that `export` writes for a restored trainer. Default: raises NoExport."""
        raise NoExport(f"{self.name} has no export; its checkpoints answer `predict`")

    # Checks

    @classmethod
    def checks(cls, standard: Sequence[Check]) -> list[Check]:
        """The checks of the tier `full`, in the order in which they run.

        `standard` holds the checks of trainers/engine/model_checks.py, which suit every trainer. A trainer
        can add checks and remove standard ones by code: `[on_model(…), *without(standard, "overfit")]` (see
        trainers/engine/check.py). Default: `standard`.
        """
        return list(standard)

    def expected_first_loss(self, batch: Any) -> float | None:
        """Theoretical loss of an untrained model for a batch (nats, `loss` / `weight`); None: unknown.

        The check `loss.first` compares it with the actual loss. Default: None.
        """
        return None

    def lighter(self: T) -> T:
        """A trainer with the same model and cheaper samples, for checks that train. Default: `self`."""
        return self

    def without_regularisation(self: T) -> T:
        """A trainer without augmentation and label smoothing, for the check `overfit`. Default: `self`."""
        return self

    def replace(self: T, **changes: Any) -> T:
        """A copy with some options changed and the same data and preprocessing."""
        other = copy.copy(self)
        other.config = self.config.replace(**changes)
        return other
