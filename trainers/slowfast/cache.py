"""Decoded frames in shards, made once: a video is read from its file one time, not once an epoch.

A shard is `<key>.bin`, frame after frame, and `<key>.json`, its index, written last: a shard without one is
no shard, so that a cache whose making was cut short goes on where it was. The key is a hash of what the
shard was made of, and a video's shard depends on its name alone: other files change other shards.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from trainers.data.recordings import Record
from trainers.engine.events import Events
from trainers.slowfast import video
from trainers.slowfast.decode import build_all
from trainers.slowfast.shards import Kind, Row, Shard, Source, whole
from trainers.slowfast.video import Box

SHARD = 48
"""Videos of one shard, about."""


def _shards(root: Path, records: Sequence[Record], kind: Kind, boxes: Mapping[str, Box]) -> tuple[Shard, ...]:
    count = 1 << max(0, -(-len(records) // SHARD) - 1).bit_length()
    held: dict[int, list[Source]] = {}
    for record in records:
        facts = record.path.stat()
        source = Source(record.id, str(record.path), facts.st_size, facts.st_mtime_ns, boxes.get(record.id))
        place = int(hashlib.sha256(record.id.encode()).hexdigest()[:8], 16) % count
        held.setdefault(place, []).append(source)
    return tuple(Shard(str(root), kind, tuple(sources)) for _, sources in sorted(held.items()))


def open_cache(
    root: Path,
    records: Sequence[Record],
    kind: Kind,
    boxes: Mapping[str, Box],
    events: Events,
    workers: int | None = None,
) -> "Cache":
    """The frames of these videos, kept below `root`; what is not there yet is decoded, on all cores."""
    root.mkdir(parents=True, exist_ok=True)
    shards = _shards(root, records, kind, boxes)
    lacking = [shard for shard in shards if not whole(shard)]
    if lacking:
        video.av()
        done = len(records) - sum(len(shard.sources) for shard in lacking)
        for built in build_all(lacking, workers or len(os.sched_getaffinity(0))):
            done += built
            events("progress", phase="cache", step=done, of=len(records))
    return Cache(kind, shards)


class Cache:
    """Frames of videos by id, memory-mapped."""

    def __init__(self, kind: Kind, shards: Sequence[Shard]) -> None:
        self.kind = kind
        self.rows: dict[str, Row] = {}
        self.refused: list[dict[str, str]] = []
        self._home: dict[str, Path] = {}
        self._open: dict[Path, np.ndarray] = {}
        for shard in shards:
            frames, index = shard.files
            held = json.loads(index.read_text())
            self.refused += held["refused"]
            for entry in held["rows"]:
                row = Row(**entry)
                self.rows[row.id], self._home[row.id] = row, frames

    def _bytes(self, id: str) -> np.ndarray:
        """All of a video's frames as they are kept, (bytes,) uint8."""
        path, row = self._home[id], self.rows[id]
        if path not in self._open:
            self._open[path] = np.memmap(path, np.uint8, "r")
        return self._open[path][row.offset : row.offset + sum(row.sizes)]

    def frames(self, id: str, wanted: np.ndarray) -> np.ndarray:
        """(T, S, S, 3) uint8: the frames of these numbers, (T,) int64, in their order."""
        row, size = self.rows[id], self.kind.size
        ends = np.concatenate([[0], np.cumsum(row.sizes)])
        held, out = np.asarray(self._bytes(id)), np.empty((len(wanted), size, size, 3), np.uint8)
        for place, number in enumerate(wanted):
            if place and number == wanted[place - 1]:
                out[place] = out[place - 1]
            else:
                self.kind.decoded(held[ends[number] : ends[number + 1]], out[place])
        return out

    def damaged(self) -> list[str]:
        """The ids whose frames are not those that were written."""
        return [id for id, row in self.rows.items() if _digest(self._bytes(id)) != row.sha256]


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()
