"""Emotion from the Facenet embeddings of a video, by a masked bidirectional LSTM."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from trainers.data import normalise
from trainers.data.recordings import Record
from trainers.engine.check import Check
from trainers.engine.events import Events
from trainers.facenet_lstm import checks, data, file_checks
from trainers.facenet_lstm.config import Config
from trainers.facenet_lstm.model import FacenetLSTM
from trainers.tasks.classifier import Reading, labels_of
from trainers.tasks.recordings import RecordingData, RecordingTrainer


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


class FacenetTrainer(RecordingTrainer):
    """See trainers.engine.trainer.Trainer."""

    name = "facenet-lstm"
    options = Config
    config: Config
    normaliser: normalise.Normaliser

    @classmethod
    def load(cls, config: Any, folders: Mapping[str, Path], cache: Path, events: Events) -> RecordingData:
        """Names, splits and features."""
        survey = file_checks.scan(folders, config)
        return data.load(survey, config, cache, events)

    def fit(self) -> dict[str, Any]:
        """Classes, statistics of the training split, the input's shape."""
        return {
            **self.class_facts(),
            "normalisation": self.fit_normaliser().as_dict(),
            "input": {"key": data.KEY, "shape": ["T", data.WIDTH]},
        }

    def fit_normaliser(self) -> normalise.Normaliser:
        """Statistics of the training split."""
        ids = [record.id for record in self.splits["train"]]
        return normalise.fit((self.data.cache.features(id) for id in ids), ids)

    def setup(self) -> None:
        """The normaliser."""
        super().setup()
        self.normaliser = normalise.Normaliser.from_dict(self.preprocessing["normalisation"])

    @classmethod
    def stem(cls, path: str) -> str:
        """All but the suffix of the extractor."""
        return file_checks.stem(path)

    def features(self, record: Record, split: str, epoch: int) -> np.ndarray:
        """(T, 512) float32."""
        values: np.ndarray = self.data.cache.features(record.id)
        return values

    def encode(self, features: Any, index: int = 0, label: int = 0, key: int = 0) -> Sample:
        """Normalised, once."""
        return self.normaliser.apply(Sample(index, label, features, key))

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Padded to the longest. A sample that was not normalised is refused."""
        if any(sample.normalised is None for sample in samples):
            raise ValueError("a sample comes to the model without normalisation")
        lengths = torch.tensor([len(sample.features) for sample in samples])
        features = torch.zeros(len(samples), int(lengths.max()), data.WIDTH)
        for row, sample in enumerate(samples):
            features[row, : len(sample.features)] = torch.from_numpy(sample.features)
        return Batch(features, lengths, *labels_of(samples))

    def model(self) -> nn.Module:
        """The LSTM of the options."""
        return FacenetLSTM(self.config, data.WIDTH, len(self.classes))

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B, C)."""
        answers: Tensor = model(batch.features, batch.lengths, batch.keys)
        return answers

    def read(self, path: Path) -> Iterator[Reading]:
        """One video a file."""
        features = data.read_npz(path, self.config.min_steps)
        yield Reading(str(path), features, self.truth(path))

    def same_content(self, record: Record, sample: Sample) -> bool:
        """Each feature's course over time is that of the file, whatever its scale: z is linear in x."""
        raw = data.read_npz(record.path, self.config.min_steps)
        return sample.features.shape == raw.shape and checks.same_course(sample.features, raw)

    @classmethod
    def checks(cls, standard: Sequence[Check]) -> list[Check]:
        """Those of embeddings, normalisation and padding first."""
        return [*checks.CHECKS, *super().checks(standard)]
