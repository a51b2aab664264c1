"""The base class of every trainer.

A trainer is a folder of `trainers/` with two modules:

`config.py` (standard library only) describes it: TITLE (one line), DATA (name of a data folder to what it
holds), Config (the options, a frozen dataclass over LoopConfig or ClassifierConfig). See trainers/registry.py
for what else it may declare.

`trainer.py` holds one class, a subclass of `Trainer` or, better, of `ClassifierTrainer` or `CTCTrainer` in
trainers/tasks, which implement most of what follows. docs/add-a-trainer.md builds one step by step.

A trainer object has two lives. In a training it is made of options and data, and `fit` computes what turns
raw input into the model's. From a checkpoint (`restore`) it is made of options and what `fit` returned then;
it has no data, and `network` is the trained model. What both need belongs in `setup`.

For CTC: `fit` returns the vocabulary as `classes`, the normalisation and the decoder; `setup` makes objects
of them; `model` uses them. `counts_size` and `summarise` count word errors, `Output.correct` holds the edits
of each sample, `expected_first_loss` is that of uniform answers, `without_regularisation` trains by CTC
alone, and `checks` replaces `overfit` by one that judges words: `[*own, *without(standard, "overfit")]`.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import nn

from trainers.engine import checkpoint, rng
from trainers.engine.check import Check
from trainers.engine.checkpoint import Checkpoint, Damaged
from trainers.engine.config import LoopConfig, parse
from trainers.engine.events import Events
from trainers.engine.export import Exportable, NoExport
from trainers.engine.output import Batch, Output, Summary

T = TypeVar("T", bound="Trainer")


class Record(Protocol):
    """One sample of a split, before its content is loaded."""

    @property
    def id(self) -> str:
        """The name by which a person finds it (file name, file:line)."""
        ...

    @property
    def group(self) -> str:
        """What must not stand in two splits: the actor, the picture; the id where samples are independent."""
        ...


class Dataset(Protocol):
    """What `load` returns. trainers/engine/dataset.py has one for small tables."""

    @property
    def splits(self) -> Mapping[str, Sequence[Any]]:
        """`train`, `val` and `test` to their records, each in a fixed order; `test` may be empty."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of the content of all usable samples, their labels and splits; a resumed run compares it.

        What stands behind a `+` is ignored where data is compared with a checkpoint's."""
        ...

    @property
    def listing(self) -> Any:
        """The subject of the checks of the tier `files`: `records` (those that can be used), `refused`, and
        `report()`, the `data` of the check's report."""
        ...


class Trainer(ABC):
    """Data, model and loss of one trainer. Members without a default are abstract."""

    name: ClassVar[str]
    """The folder's name with `-` for `_`. Checkpoints carry it."""

    options: ClassVar[type[LoopConfig]]
    """The class of the options: Config of the trainer's `config` module."""

    baseline_name: ClassVar[str] = ""
    """What the simple model of `baseline` is called; empty where there is none."""

    config: LoopConfig
    data: Any
    """What `load` returned. Not set on a restored trainer."""

    splits: dict[str, Sequence[Any]]
    """The records of each split. Not set on a restored trainer."""

    fingerprint: str
    preprocessing: dict[str, Any]
    """What `fit` returned; in the manifest of every checkpoint."""

    work: Path = Path()
    """A folder for temporary files of the checks. Set by `check`."""

    job_options: Sequence[str] = ()
    """The options that the job sets. Set by `check`."""

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
        """The trainer over these data folders; see `load`."""
        return cls(config, cls.load(config, folders, cache, events))

    @classmethod
    @abstractmethod
    def load(cls, config: Any, folders: Mapping[str, Path], cache: Path, events: Events) -> Dataset:
        """Read the data folders (by their names in DATA; those that exist).

        `cache` is a folder for what is expensive to compute; it may be deleted between runs. Called by rank 0
        first, then by the other processes. Raises DataUnusable with findings.
        """

    @abstractmethod
    def fit(self) -> dict[str, Any]:
        """What turns raw input into the model's, as JSON: `classes` (what the logits stand for), statistics
        of the training split, names of columns. Called once, at the start of a training."""

    def setup(self) -> None:  # noqa: B027 - optional
        """Build objects from `config` and `preprocessing`, and from `data` where it is set.

        Called at the end of the constructor, in both lives. Raises ValueError or KeyError where the
        preprocessing of a checkpoint is not of this version. Default: nothing.
        """

    def size(self, split: str) -> int:
        """Samples of a split in one epoch. Default: its records."""
        return len(self.splits[split])

    @abstractmethod
    def sample(self, split: str, epoch: int, index: int) -> Any:
        """Sample `index` of a split, ready to collate; in `train` changed at random, as a pure function of
        (seed, epoch, index): use rng.derive_seed. Called in loader processes."""

    @abstractmethod
    def collate(self, samples: Sequence[Any]) -> Batch:
        """Samples (one at least) to a batch."""

    def names(self, split: str, indices: Sequence[int]) -> list[str]:
        """What a person calls these samples. Default: the records' ids."""
        return [str(self.splits[split][index].id) for index in indices]

    def groups(self, split: str) -> list[str]:
        """The group of each sample of a split. Default: the records' groups."""
        return [str(record.group) for record in self.splits[split]]

    # Model

    @abstractmethod
    def model(self) -> nn.Module:
        """The model with fresh weights: a function of `config` and `preprocessing` alone, so that a
        checkpoint can be loaded into it without the data. torch's generator is seeded before the call."""

    def build(self) -> nn.Module:
        """`model()` with start weights that depend on the option `seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rng.derive_seed(self.config.seed, rng.WEIGHTS) >> 1)
            return self.model()

    def rate_factors(self, model: nn.Module) -> dict[str, float]:
        """Parameter name to its share of the learning rate, 1 for those not named. Default: 1 for all."""
        return {}

    # Loss and metrics

    @property
    @abstractmethod
    def counts_size(self) -> int:
        """K, the length of Output.counts."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What the logits stand for. Default: `classes` of `preprocessing`."""
        return tuple(self.preprocessing["classes"])

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Output:
        """Loss and answers for a batch. `model.training` tells training from evaluation."""

    @abstractmethod
    def summarise(self, counts: Sequence[float]) -> Summary:
        """Metrics of a split from the sum of Output.counts (K,) over it."""

    def baseline(self, split: str) -> Summary:
        """Metrics of a simple model that has to be beaten. Called where `baseline_name` is not empty."""
        raise NotImplementedError

    # Checkpoints

    def proof(self, model: nn.Module) -> dict[str, Any] | None:
        """Raw input and the model's answers to it, as JSON, for the manifest's `proof`; leaves the model as
        it is. Default: None."""
        return None

    @classmethod
    def restore(cls: type[T], saved: Checkpoint) -> T:
        """The trainer of a checkpoint, with `network` in eval mode.

        Loads strictly: raises Damaged where the checkpoint is not of this trainer and version.
        """
        config, findings = parse(cls.options, saved.manifest["config"])
        if findings or saved.manifest["trainer"] != cls.name:
            raise Damaged(f"{saved.path} is no checkpoint of this version of {cls.name}")
        try:
            trainer = cls(config, preprocessing=saved.manifest["preprocessing"])
        except (KeyError, TypeError, ValueError) as fault:
            raise Damaged(f"{saved.path} is no checkpoint of this version of {cls.name}: {fault}") from fault
        trainer.network = trainer.build()
        checkpoint.load_weights(trainer.network, saved)
        trainer.network.eval()
        return trainer

    @abstractmethod
    def predict(self, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
        """Answers of a restored trainer to files, as JSON: `file` and the answer, or `file` and `error`."""

    @abstractmethod
    def evaluate(
        self, saved: Checkpoint, folders: Mapping[str, Path], split: str, work: Path
    ) -> dict[str, Any]:
        """Metrics of a restored trainer on a split of these folders (`all`: every usable sample), as JSON.

        `saved` is its checkpoint, `work` an empty folder. Raises DataUnusable.
        """

    def exportable(self, saved: Checkpoint) -> Exportable:
        """What `export` writes of a restored trainer. Default: raises NoExport."""
        raise NoExport(f"{self.name} has no export; its checkpoints answer `predict`")

    # Checks

    @classmethod
    def checks(cls, standard: Sequence[Check]) -> list[Check]:
        """The checks of the tier `full`, in the order in which they are asked.

        `standard` holds those of trainers/engine/model_checks.py, which suit every trainer. A trainer adds
        its own and leaves some out by code: `[on_model(…), *without(standard, "overfit")]`, by the functions
        of trainers/engine/check.py. Default: `standard`.
        """
        return list(standard)

    def expected_first_loss(self, batch: Any) -> float | None:
        """The loss of an untrained model for a batch in theory (nats, as `loss` / `weight`); None: unknown,
        and the check `loss.first` says nothing. Default: None."""
        return None

    def lighter(self: T) -> T:
        """The same model on cheaper samples, for checks that train. Default: itself."""
        return self

    def without_regularisation(self: T) -> T:
        """The trainer without augmentation and label smoothing, for the check `overfit`. Default: itself."""
        return self

    def replace(self: T, **changes: Any) -> T:
        """The same data and preprocessing with other options."""
        other = copy.copy(self)
        other.config = self.config.replace(**changes)
        return other
