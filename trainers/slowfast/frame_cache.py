"""Keeps decoded frames in a packed cache, so that a video is decoded once and not in every epoch.

This module does not import torch.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from trainers.data import packed
from trainers.data.packed import Shard, Source
from trainers.data.recordings import Record
from trainers.engine.events import Events
from trainers.slowfast import decode
from trainers.slowfast.decode import Kind
from trainers.slowfast.upright import Box

SHARD_SIZE = 48
"""Approximate number of videos per shard."""


@dataclass(frozen=True)
class Row(packed.Row):
    """A cached video: the size of each encoded frame in bytes, and the frames per second."""

    sizes: list[int]
    rate: float

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.sizes)


class Cache(packed.Cache[Row]):
    """The cached frames of videos, by record id."""

    def __init__(self, kind: Kind, folders: Sequence[Path]) -> None:
        super().__init__(folders, Row)
        self.kind = kind

    def frames(self, id: str, numbers: np.ndarray) -> np.ndarray:
        """Return the frames with these numbers (T,) int64, in that order, as (T, S, S, 3) uint8."""
        size, content = self.kind.size, self.content(id)
        ends = np.concatenate([[0], np.cumsum(self.rows[id].sizes)])
        out = np.empty((len(numbers), size, size, 3), np.uint8)
        for index, number in enumerate(numbers):
            if index and number == numbers[index - 1]:
                out[index] = out[index - 1]
            else:
                self.kind.decoded(content[ends[number] : ends[number + 1]], out[index])
        return out


def shards(root: Path, records: Sequence[Record], kind: Kind, boxes: Mapping[str, Box]) -> tuple[Shard, ...]:
    """Divide the videos into shards. Raises Unread if a file cannot be accessed."""
    sources = [
        Source.of(record.id, record.path, json.dumps(boxes[record.id]) if record.id in boxes else "")
        for record in records
    ]
    return packed.shards(root, kind.encoding, sources, SHARD_SIZE)


def open_cache(
    root: Path,
    records: Sequence[Record],
    kind: Kind,
    boxes: Mapping[str, Box],
    events: Events,
    workers: int | None = None,
) -> Cache:
    """Open the cache of these videos below `root`, and decode missing ones.

    Decoding runs in `workers` processes, by default one per CPU core.
    """
    build = partial(decode.build_all, workers=workers or len(os.sched_getaffinity(0)))
    return Cache(kind, packed.ensure(shards(root, records, kind, boxes), Row, build, events))
