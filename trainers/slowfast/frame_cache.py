"""Decoded frames in a packed cache: a video is read from its file one time, not once an epoch.

No torch is imported here.
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
from trainers.slowfast.frames import Kind
from trainers.slowfast.video import Box

SHARD_SIZE = 48
"""Videos of one shard, about."""


@dataclass(frozen=True)
class Row(packed.Row):
    """The bytes of each frame of a video, and how many frames a second has."""

    sizes: list[int]
    rate: float

    @property
    def frames(self) -> int:
        """How many."""
        return len(self.sizes)


class Cache(packed.Cache[Row]):
    """Frames of videos by record id."""

    def __init__(self, kind: Kind, folders: Sequence[Path]) -> None:
        super().__init__(folders, Row)
        self.kind = kind

    def frames(self, id: str, numbers: np.ndarray) -> np.ndarray:
        """(T, S, S, 3) uint8: the frames of these numbers, (T,) int64, in their order."""
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
    """The shards of these videos. Raises Unread."""
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
    """The frames of these videos, kept below `root`; what is missing is decoded, on all cores."""
    build = partial(decode.build_all, workers=workers or len(os.sched_getaffinity(0)))
    return Cache(kind, packed.ensure(shards(root, records, kind, boxes), Row, build, events))
