"""The Facenet LSTM as the engine's task, and its use from a checkpoint alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainers.data import emotions, normalise, recordings
from trainers.data.emotion_data import join
from trainers.data.recordings import Record
from trainers.data.refusal import Unusable
from trainers.engine import checkpoint, health, metrics, rng, seen
from trainers.engine.config import parse
from trainers.engine.events import Events, Silent
from trainers.engine.sampler import Key
from trainers.engine.task import Output, Summary
from trainers.facenet_lstm import data, files, rules
from trainers.facenet_lstm.config import Config
from trainers.facenet_lstm.model import FacenetLSTM
from trainers.tasks import classify

CLASSES = emotions.CLASSES
NAME = "facenet-lstm"


@dataclass(frozen=True)
class Sample:
    """One video: features (T, 512), its class, and the 32-bit key of its dropout masks."""

    index: int
    label: int
    features: np.ndarray
    key: int = 0
    normalised: str | None = None


class Batch(NamedTuple):
    """features (B, T, 512) float32, zero beyond each length; lengths (B,) stay on the CPU."""

    features: Tensor
    lengths: Tensor
    labels: Tensor
    keys: Tensor
    indices: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        moved = (value.to(device, non_blocking=True) for value in self)
        return Batch(*moved)._replace(lengths=self.lengths)


def collate(samples: Sequence[Sample]) -> Batch | None:
    """Pad to the longest. A sample that was not normalised is refused."""
    if not samples:
        return None
    if any(sample.normalised is None for sample in samples):
        raise ValueError("a sample comes to the model without normalisation")
    lengths = torch.tensor([len(sample.features) for sample in samples])
    features = torch.zeros(len(samples), int(lengths.max()), data.WIDTH)
    for row, sample in enumerate(samples):
        features[row, : len(sample.features)] = torch.from_numpy(sample.features)
    labels, keys, indices = (
        torch.tensor([getattr(sample, name) for sample in samples]) for name in ("label", "key", "index")
    )
    return Batch(features, lengths, labels, keys, indices)


class Items:
    """A split's samples; the normaliser is the only one there is, fitted on train."""

    def __init__(
        self,
        records: Sequence[Record],
        cache: data.Cache,
        normaliser: normalise.Normaliser,
        seed: int,
    ) -> None:
        self.records, self.cache, self.normaliser, self.seed = records, cache, normaliser, seed

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        record = self.records[index]
        word = rng.derive_seed(self.seed, 3, epoch, index) & 0xFFFFFFFF
        features = self.cache.features(record.id)
        sample = Sample(index, CLASSES.index(record.label), features, word)
        return self.normaliser.apply(sample)


def build(config: Config) -> FacenetLSTM:
    """The model with start weights that the seed alone decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive_seed(config.seed, 4) >> 1)
        return FacenetLSTM(config, data.WIDTH, len(CLASSES))


class FacenetTask:
    """See trainers.engine.task.Task."""

    name = NAME
    classes = CLASSES
    counts_size = len(CLASSES) ** 2

    def __init__(self, config: Config, held: data.Data) -> None:
        self.config = config
        self.data = held
        self.records = recordings.by_split(held.records, held.home)
        self.fingerprint = held.fingerprint
        self.normaliser = self.fit()
        self.weights = self._class_weights()

    def fit(self) -> normalise.Normaliser:
        """Statistics of the training split."""
        ids = [record.id for record in self.records["train"]]
        return normalise.fit((self.data.cache.features(id) for id in ids), ids)

    def _class_weights(self) -> Tensor:
        """(C,) float32: N / (C n_c) over the training split, or ones."""
        labels = [CLASSES.index(record.label) for record in self.records["train"]]
        counts = np.bincount(labels, minlength=len(CLASSES))
        if not self.config.class_weights:
            return torch.ones(len(CLASSES))
        return torch.tensor(len(labels) / (len(CLASSES) * np.maximum(counts, 1))).float()

    def replace(self, **changes: Any) -> "FacenetTask":
        """The same data with other options; for probes."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.config = self.config.replace(**changes)
        return copy

    def size(self, split: str) -> int:
        """Samples of a split."""
        return len(self.records[split])

    def items(self, split: str) -> Items:
        """The samples of a split, normalised."""
        cache = self.data.cache
        return Items(self.records[split], cache, self.normaliser, self.config.seed)

    def names(self, split: str, indices: Sequence[int]) -> list[str]:
        """Record ids."""
        return [self.records[split][index].id for index in indices]

    def groups(self, split: str) -> list[str]:
        """Actors."""
        return [record.actor for record in self.records[split]]

    units = groups

    def collate(self, samples: list[Sample]) -> Batch | None:
        """Samples to a batch."""
        return collate(samples)

    def build(self) -> nn.Module:
        """The model with its start weights."""
        return build(self.config)

    def forward(self, model: nn.Module, batch: Batch) -> Output:
        """Cross entropy, each sample weighed by its class."""
        logits = model(batch.features, batch.lengths, batch.keys).float()
        weights = self.weights.to(logits.device)[batch.labels]
        losses = cross_entropy(
            logits, batch.labels, reduction="none", label_smoothing=self.config.label_smoothing
        )
        answers = logits.argmax(1)
        flat = batch.labels * len(CLASSES) + answers
        counts = torch.bincount(flat, minlength=self.counts_size).to(logits.dtype)
        correct = (answers == batch.labels).to(logits.dtype)
        return Output((losses * weights).sum(), weights.sum(), counts, correct, logits)

    def summarise(self, counts: Sequence[float]) -> Summary:
        """Metrics and confusion matrix."""
        size = len(CLASSES)
        confusion = np.asarray(counts).round().astype(int).reshape(size, size)
        return Summary(metrics.summarise(confusion), list(CLASSES), confusion.tolist())

    def preprocessing(self) -> dict[str, Any]:
        """Normalisation, label map, classes, input schema."""
        return {
            "classes": list(CLASSES),
            "labels": {"ravdess": emotions.RAVDESS_EMOTIONS, "crema": emotions.CREMA_EMOTIONS},
            "normalisation": self.normaliser.as_dict(),
            "input": {"key": data.KEY, "shape": ["T", data.WIDTH]},
        }


def open_task(config: Config, folders: Mapping[str, Path], cache_root: Path, events: Events) -> FacenetTask:
    """The task over these folders. Raises DataUnusable."""
    held = load(config, folders, cache_root, events)
    empty = rules.nonempty(recordings.by_split(held.records, held.home), held.refused, held.found)
    if empty:
        raise health.DataUnusable(empty)
    return FacenetTask(config, held)


def run_rules(task: FacenetTask) -> list[health.Finding]:
    """The rules of names, labels and splits, asked once more when a run starts."""
    held = task.data
    return rules.check(held.records, held.refused, held.found, held.home, task.config)


def load(config: Config, folders: Mapping[str, Path], cache_root: Path, events: Events) -> data.Data:
    """Names, splits and features, put together."""
    listing = files.scan(folders, config)
    home = recordings.split_records(listing.records, config)
    cache = data.open_cache(cache_root, listing, config.min_steps, events)
    return join(listing, home, cache)


@dataclass(frozen=True)
class Restored:
    """A model from its checkpoint, with the preprocessing that belongs to it."""

    config: Config
    model: FacenetLSTM
    normaliser: normalise.Normaliser

    @torch.no_grad()
    def logits(self, features: np.ndarray) -> Tensor:
        """Raw features (T, 512) to logits (C,)."""
        sample = self.normaliser.apply(Sample(0, 0, features))
        batch = collate([sample])
        assert batch is not None
        answer: Tensor = self.model(batch.features, batch.lengths, batch.keys)
        return answer[0].float()


def restore(held: checkpoint.Checkpoint) -> Restored:
    """Strictly: raises Damaged where the checkpoint is not of this model."""
    config, findings = parse(Config, held.manifest["config"])
    if findings or held.manifest["trainer"] != NAME:
        raise checkpoint.Damaged(f"{held.path} is no checkpoint of this version of {NAME}")
    if held.manifest["preprocessing"]["classes"] != list(CLASSES):
        raise checkpoint.Damaged(f"{held.path} knows other classes")
    model = build(config)
    checkpoint.load_weights(model, held)
    model.eval()
    normaliser = normalise.Normaliser.from_dict(held.manifest["preprocessing"]["normalisation"])
    return Restored(config, model, normaliser)


def predict(held: checkpoint.Checkpoint, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """For each file its class and probabilities, or the error that kept it from one."""
    restored = restore(held)
    for path in paths:
        try:
            features = data.read_npz(path, restored.config.min_steps)
        except (Unusable, health.DataUnusable) as fault:
            yield {"file": str(path), "error": str(fault)}
            continue
        shares = restored.logits(features).softmax(0).tolist()
        label = CLASSES[int(np.argmax(shares))]
        probabilities = dict(zip(CLASSES, shares, strict=True))
        answer = {"file": str(path), "label": label, "probabilities": probabilities}
        yield {**answer, **_truth(path, restored.config)}


def _truth(path: Path, config: Config) -> dict[str, str]:
    try:
        label, _ = recordings.label_of(emotions.parse(files.stem(path.name)), config)
    except emotions.BadName:
        return {}
    return {"truth": label} if label else {}


def evaluate(
    held: checkpoint.Checkpoint, folders: Mapping[str, Path], split: str, work: Path
) -> dict[str, Any]:
    """Metrics of the checkpoint on a split of these folders (`all`: on every usable file)."""
    restored = restore(held)
    found = load(restored.config, folders, work, Silent())
    records = [r for r in found.records if split in ("all", found.home[r.id])]
    if not records:
        raise health.DataUnusable(rules.nothing(split, found.refused, found.found))
    records, told = seen.unseen(held, found.fingerprint, split, records, lambda record: record.actor)
    truth = np.array([CLASSES.index(record.label) for record in records])
    shares = [restored.logits(found.cache.features(record.id)).softmax(0).numpy() for record in records]
    names, actors = [record.id for record in records], [record.actor for record in records]
    return {
        "checkpoint": str(held.path),
        "step": held.manifest["step"],
        "split": split,
        "refused": len(found.refused),
        **told,
        **classify.scores(truth, np.stack(shares), CLASSES, names, actors, restored.config.seed),
    }
