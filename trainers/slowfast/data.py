"""Videos, their splits and their cached frames, put together; and clips of them for a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainers.data import emotions, recordings
from trainers.data.emotion_data import EmotionData, join
from trainers.data.recordings import Record
from trainers.engine import rng
from trainers.engine.events import Events
from trainers.engine.sampler import Key
from trainers.slowfast import boxes, clips, files, manifest
from trainers.slowfast.config import Config
from trainers.slowfast.files import Chosen
from trainers.slowfast.frame_cache import Cache, open_cache
from trainers.slowfast.frames import Kind

CLASSES = emotions.CLASSES
FOLDER = "slowfast"
"""Below a host's cache."""


@dataclass(frozen=True)
class Data(EmotionData[Cache]):
    """Videos with their splits and frames; `folder` is where the manifests are kept."""

    chosen: Chosen
    folder: Path

    @property
    def manifest(self) -> Path:
        """Where the manifest of these very videos and splits is."""
        return self.folder / f"manifest-{self.fingerprint[:12]}.csv"


def kind(config: Config) -> Kind:
    """How these options keep frames."""
    return Kind(config.cache_size, config.cache_format)


def load(chosen: Chosen, config: Config, folders: Mapping[str, Path], root: Path, events: Events) -> Data:
    """The frames of the chosen videos; those that cannot be decoded are refused by name.

    Raises boxes.BadBoxes and video.MissingPackage.
    """
    listing, root = chosen.listing, root / FOLDER
    face_boxes = boxes.of(listing.records, folders) if config.crop == "faces" else {}
    cache = open_cache(root, listing.records, kind(config), face_boxes, events)
    data = Data(**vars(join(listing, chosen.home, cache)), chosen=chosen, folder=root)
    usable = recordings.Listing(listing.found, data.records, data.refused)
    manifest.write(data.manifest, usable, chosen.home, folders)
    return data


@dataclass(frozen=True)
class Sample:
    """One video: frames (V, T, S, S, 3) uint8 of V clips, their looks (V, LOOK) and dropout keys (V,)."""

    index: int
    label: int
    frames: np.ndarray
    looks: np.ndarray
    keys: tuple[int, ...]


class Batch(NamedTuple):
    """frames (B, V, T, S, S, 3) uint8, looks (B, V, LOOK) float32, keys (B, V), labels and indices (B,)."""

    frames: Tensor
    looks: Tensor
    keys: Tensor
    labels: Tensor
    indices: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return Batch(*(value.to(device, non_blocking=True) for value in self))


def collate(samples: Sequence[Sample]) -> Batch | None:
    """Samples of equally many clips to a batch."""
    if not samples:
        return None
    frames, looks = (
        torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))
        for name in ("frames", "looks")
    )
    keys, labels, indices = (
        torch.tensor([getattr(sample, name) for sample in samples]) for name in ("keys", "label", "index")
    )
    return Batch(frames, looks, keys, labels, indices)


class TrainItems:
    """Clips drawn from the training videos by (seed, epoch, video, clip)."""

    def __init__(self, records: Sequence[Record], cache: Cache, config: Config) -> None:
        self.records, self.cache, self.config = records, cache, config

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        record, config = self.records[index], self.config
        words = [
            rng.derive_seed(config.seed, 5, epoch, index, clip) for clip in range(config.clips_per_video)
        ]
        drawn = [clips.draw(config, self.cache.rows[record.id].frames, word) for word in words]
        frames = np.stack([self.cache.frames(record.id, clip.frames) for clip in drawn])
        keys = tuple(word & 0xFFFFFFFF for word in words)
        looks = np.stack([clip.look for clip in drawn])
        return Sample(index, CLASSES.index(record.label), frames, looks, keys)


class TestItems:
    """Clips spread over each video, the same each time."""

    def __init__(self, records: Sequence[Record], cache: Cache, config: Config) -> None:
        self.records, self.cache, self.config = records, cache, config

    def __getitem__(self, key: Key) -> Sample:
        record, count = self.records[key[1]], self.config.test_clips
        wanted = clips.spread(self.config, self.cache.rows[record.id].frames, count)
        frames = np.stack([self.cache.frames(record.id, numbers) for numbers in wanted])
        looks = np.stack([clips.unchanged(self.config)] * count)
        return Sample(key[1], CLASSES.index(record.label), frames, looks, (0,) * count)


__all__ = ["Batch", "Data", "Sample", "TestItems", "TrainItems", "collate", "files", "kind", "load"]
