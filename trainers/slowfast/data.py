"""The data set of videos, splits and cached frames; and the samples and batches of clips made from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainers.data import emotions
from trainers.data.recording_checks import Survey
from trainers.engine.events import Events
from trainers.slowfast import boxes, manifest
from trainers.slowfast.config import Config
from trainers.slowfast.decode import Kind
from trainers.slowfast.frame_cache import open_cache
from trainers.tasks.recordings import RecordingData, join

CLASSES = emotions.CLASSES
FOLDER = "slowfast"
"""Name of the trainer's folder in the host's cache."""


@dataclass(frozen=True)
class Data(RecordingData):
    """Videos with their splits and frames; `pretrained` is a file of weights to start from."""

    pretrained: Path | None = None


def kind(config: Config) -> Kind:
    """Return the size and format in which the options cache frames."""
    return Kind(config.cache_size, config.cache_format)


def load(survey: Survey, config: Config, folders: Mapping[str, Path], root: Path, events: Events) -> Data:
    """Decode the surveyed videos into the cache, and write a manifest of all files, used or refused.

    Videos that cannot be decoded are added to `refused`. Raises boxes.BadBoxes and video.MissingPackage.
    """
    root = root / FOLDER
    face_boxes = boxes.of(survey.records, folders) if config.crop == "faces" else {}
    data = join(survey, open_cache(root, survey.records, kind(config), face_boxes, events))
    path = root / f"manifest-{data.fingerprint[:12]}.csv"
    manifest.write(path, data.listing, folders)
    return Data(replace(data.listing, facts={"manifest": str(path)}), data.cache)


@dataclass(frozen=True)
class Sample:
    """One video: frames (V, T, S, S, 3) uint8 of V clips, their looks (V, LOOK) and dropout keys (V,)."""

    index: int
    label: int
    frames: np.ndarray
    looks: np.ndarray
    keys: tuple[int, ...]


class Batch(NamedTuple):
    """A batch: frames (B, V, T, S, S, 3) uint8, looks (B, V, LOOK), keys (B, V), labels and indices (B,)."""

    frames: Tensor
    looks: Tensor
    keys: Tensor
    labels: Tensor
    indices: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(*(value.to(device, non_blocking=True) for value in self))


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples with the same number of clips into a batch."""
    frames, looks = (
        torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))
        for name in ("frames", "looks")
    )
    keys, labels, indices = (
        torch.tensor([getattr(sample, name) for sample in samples]) for name in ("keys", "label", "index")
    )
    return Batch(frames, looks, keys, labels, indices)
