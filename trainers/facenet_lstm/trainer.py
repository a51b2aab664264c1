"""The trainer `facenet-lstm`: classifies emotion from the Facenet embeddings of a video with an LSTM."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from trainers.data import normalise
from trainers.data.recordings import Record
from trainers.data.refusal import Unusable
from trainers.engine.check import Check
from trainers.engine.checkpoint import Checkpoint
from trainers.engine.events import Events
from trainers.engine.export import Exportable
from trainers.facenet_lstm import checks, data, file_checks
from trainers.facenet_lstm.config import Config
from trainers.facenet_lstm.model import FacenetLSTM
from trainers.tasks.classifier import Reading, labels_of
from trainers.tasks.recordings import RecordingData, RecordingTrainer


@dataclass(frozen=True)
class Sample:
    """One video: features (T, 512), class index, and the 32-bit key of its dropout masks."""

    index: int
    label: int
    features: np.ndarray
    key: int = 0
    normalised: str | None = None


class Batch(NamedTuple):
    """A batch: features (B, T, 512) float32, zero beyond each length; lengths (B,) stay on the CPU."""

    features: Tensor
    lengths: Tensor
    labels: Tensor
    keys: Tensor
    indices: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; `lengths` stay where they are."""
        moved = (value.to(device, non_blocking=True) for value in self)
        return Batch(*moved)._replace(lengths=self.lengths)


class FacenetTrainer(RecordingTrainer):
    """Classifies embeddings of videos; see trainers.engine.trainer.Trainer for the methods."""

    name = "facenet-lstm"
    options = Config
    config: Config
    normaliser: normalise.Normaliser

    @classmethod
    def load(cls, config: Any, folders: Mapping[str, Path], cache: Path, events: Events) -> RecordingData:
        """Find the files, assign splits, and read the features into the cache."""
        survey = file_checks.scan(folders, config)
        return data.load(survey, config, cache, events)

    def fit(self) -> dict[str, Any]:
        """Return classes, normalisation statistics of the training split, and key and shape of the input."""
        return {
            **self.class_facts(),
            "normalisation": self.fit_normaliser().as_dict(),
            "input": {"key": data.KEY, "shape": ["T", data.WIDTH]},
        }

    def fit_normaliser(self) -> normalise.Normaliser:
        """Return the mean and standard deviation of each feature over the training split."""
        ids = [record.id for record in self.splits["train"]]
        return normalise.fit((self.data.cache.features(id) for id in ids), ids)

    def setup(self) -> None:
        """Check the classes and build the normaliser."""
        super().setup()
        self.normaliser = normalise.Normaliser.from_dict(self.preprocessing["normalisation"])

    @classmethod
    def stem(cls, path: str) -> str:
        """Return the video's name, without the extractor's suffix."""
        return file_checks.stem(path)

    def features(self, record: Record, split: str, epoch: int) -> np.ndarray:
        """Return the raw features of a record, (T, 512) float32."""
        values: np.ndarray = self.data.cache.features(record.id)
        return values

    def encode(self, features: Any, index: int = 0, label: int = 0, key: int = 0) -> Sample:
        """Return a sample with the features normalised."""
        return self.normaliser.apply(Sample(index, label, features, key))

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Pad samples to the longest. Raises ValueError for a sample that is not normalised."""
        if any(sample.normalised is None for sample in samples):
            raise ValueError("a sample reaches the model without normalisation")
        lengths = torch.tensor([len(sample.features) for sample in samples])
        features = torch.zeros(len(samples), int(lengths.max()), data.WIDTH)
        for row, sample in enumerate(samples):
            features[row, : len(sample.features)] = torch.from_numpy(sample.features)
        return Batch(features, lengths, *labels_of(samples))

    def model(self) -> nn.Module:
        """Return the LSTM that the options describe."""
        return FacenetLSTM(self.config, data.WIDTH, len(self.classes))

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the model's logits (B, C)."""
        answers: Tensor = model(batch.features, batch.lengths, batch.keys)
        return answers

    def read(self, path: Path) -> Iterator[Reading]:
        """Yield the one video of a file, with its class if the file name contains it.

        Raises Unusable, also for embeddings whose length is not 1, which training refuses.
        """
        features = data.read_npz(path, self.config.min_steps)
        if not data.is_unit(norm := data.farthest_norm(features)):
            raise Unusable("holds an embedding whose length is not 1", f"{norm:.3g}", "feature.unit")
        yield Reading(str(path), features, self.truth(path))

    def same_content(self, record: Record, sample: Sample) -> bool:
        """Return whether the sample equals its file up to scale and shift, which normalisation changes."""
        raw = data.read_npz(record.path, self.config.min_steps)
        return sample.features.shape == raw.shape and checks.same_course(sample.features, raw)

    def exportable(self, saved: Checkpoint) -> Exportable:
        """Return the program to export, for any number of videos with any numbers of embeddings."""
        about = {
            "features": "raw embeddings in the order of time, each of length 1, not normalised; zeros beyond "
            "the end of a video that is shorter than the longest",
            "lengths": "number of embeddings of each video",
            "outside": "a video with an embedding whose length is not 1 gets NaN logits",
            "answer": "softmax over the logits gives the probabilities of `classes`",
        }

        def inputs(*lengths: int) -> dict[str, Tensor]:
            draw = torch.Generator().manual_seed(sum(lengths))
            unit = normalize(torch.randn(len(lengths), max(lengths), data.WIDTH, generator=draw), dim=2)
            return {"features": unit, "lengths": torch.tensor(lengths)}

        axes = {"features": {0: "videos", 1: "steps"}, "lengths": {0: "videos"}}
        others = (inputs(self.config.min_steps), inputs(57, 3, 67), inputs(40, 40))
        return Exportable(Program(self).eval(), inputs(30, 21), axes, about, others)

    @classmethod
    def checks(cls, standard: Sequence[Check]) -> list[Check]:
        """Return the checks of embeddings, followed by those of every trainer of recordings."""
        return [*checks.CHECKS, *super().checks(standard)]


class Program(nn.Module):
    """The exported program: raw embeddings (N, T, 512) float32 to logits (N, C), normalisation included."""

    mean: Tensor
    std: Tensor

    def __init__(self, trainer: FacenetTrainer) -> None:
        super().__init__()
        self.model = trainer.network
        self.register_buffer("mean", torch.from_numpy(trainer.normaliser.mean))
        self.register_buffer("std", torch.from_numpy(trainer.normaliser.std))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits (N, C); NaN for a video with an embedding whose length is not 1."""
        keys = torch.zeros_like(lengths)
        logits = self.model((features - self.mean) / self.std, lengths, keys)
        beyond = torch.arange(features.shape[1], device=features.device)[None] >= lengths[:, None]
        unit = (features.norm(dim=2) - 1.0).abs() <= data.UNIT_TOLERANCE
        return torch.where((unit | beyond).all(1, keepdim=True), logits, torch.nan)
