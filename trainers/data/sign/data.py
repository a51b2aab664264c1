"""The cache of landmarks: raw columns of all usable sentences as float16 in packed files."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data import normalise, packed
from trainers.data.landmarks import RAW
from trainers.data.packed import Encode, Encoded, Source
from trainers.data.refusal import Refusal, Unusable
from trainers.data.sign.config import SignConfig
from trainers.data.sign.files import Listing, Record
from trainers.data.sign.reading import derive, read
from trainers.engine import atomic, health
from trainers.engine.events import Events

SHARD_SIZE = 512
"""Approximate number of sentences per shard (about 200 MB)."""

FRAME_BYTES = RAW * 2


@dataclass(frozen=True)
class Row(packed.Row):
    """The index entry of a sentence: number of frames, and the fraction of its zero landmarks that its
    detection masks mark as missing (None if unknown)."""

    steps: int
    agreement: float | None


class Cache(packed.Cache[Row]):
    """Raw columns by sentence id, from packed files or, with `pack: false`, from the feature files.

    `folders` are only read, because they may be the user's data; statistics are stored below `root`.
    """

    def __init__(self, root: Path, folders: Sequence[Path], files: dict[str, Path] | None = None) -> None:
        super().__init__(folders, Row, _from_version_1)
        self.root, self.files = root, files

    def content(self, id: str) -> np.ndarray:
        """The bytes (size,) uint8 of `raw`."""
        if self.files is None:
            return super().content(id)
        return read(self.files[id], 1).raw.view(np.uint8).reshape(-1)

    def raw(self, id: str) -> np.ndarray:
        """Raw columns (T, 1629) float16 of a sentence; for packed files a read-only view."""
        return self.content(id).view(np.float16).reshape(-1, RAW)

    def statistics(self, ids: Sequence[str]) -> normalise.Normaliser:
        """Mean and floored std of the 4,887 derived columns over these sentences; cached below `root`."""
        key = packed.digest("\n".join(["schema 1", *(f"{id} {self.rows[id].sha256}" for id in ids)]))
        path = self.root / f"statistics-{key}.json"
        try:
            return normalise.Normaliser.from_dict(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError):
            statistics = normalise.fit((derive(self.raw(id)) for id in ids), ids)
        self.root.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, json.dumps(statistics.as_dict()))
        return statistics


def _from_version_1(index: dict[str, Any]) -> dict[str, Any]:
    """Convert the index of a packed folder of version 1, which counts in frames, to the current version.

    Users may still have data folders that `prepare` wrote in version 1.
    """
    if index["schema"] != 1:
        return index
    rows = [
        {**row, "offset": row["offset"] * FRAME_BYTES, "size": row["steps"] * FRAME_BYTES}
        for row in index["rows"]
    ]
    return {**index, "schema": packed.SCHEMA, "records": "features.f16", "rows": rows}


def sources(records: Iterable[Record]) -> list[Source]:
    """The feature files of sentences as sources of the cache; packed sentences have none. Raises Unread."""
    return [Source.of(record.id, record.path, str(record.path)) for record in records if record.path]


def encoder(config: SignConfig) -> Encode:
    """Create the function that reads and encodes a feature file, and stores its content if `pack` is set."""

    def encode(source: Source) -> Encoded:
        landmarks = read(Path(source.path), config.min_frames)
        fields = {"steps": len(landmarks.raw), "agreement": landmarks.agreement}
        return Encoded(landmarks.raw.tobytes(), fields, config.pack)

    return encode


def open_cache(root: Path, listing: Listing, config: SignConfig, events: Events) -> Cache:
    """Open the packed data folder, or the cache below `root`, whose missing shards are built first.

    Raises DataUnusable.
    """
    if listing.packed is not None:
        try:
            return Cache(root, [listing.packed])
        except packed.Incomplete as fault:
            raise health.DataUnusable([health.error("cache", str(fault), PACK_AGAIN)]) from fault
    encoding = f"landmarks, min_frames {config.min_frames}, pack {config.pack}"
    shards = packed.shards(root, encoding, sources(listing.records), SHARD_SIZE)
    folders = packed.ensure(shards, Row, packed.build_here(encoder(config)), events)
    files = None if config.pack else {r.id: r.path for r in listing.records if r.path is not None}
    return Cache(root, folders, files)


PACK_AGAIN = "copy it anew, or pack the feature files again: gpujob prepare TRAINER --phoenix DIR"
"""The fix for a damaged packed data folder."""


@dataclass(frozen=True)
class Data:
    """A loaded data set: usable and refused sentences (`listing`), and their features (`cache`)."""

    listing: Listing
    cache: Cache

    @property
    def records(self) -> tuple[Record, ...]:
        """The usable sentences."""
        return self.listing.records

    @property
    def splits(self) -> dict[str, list[Record]]:
        """The sentences of each split."""
        return self.listing.splits

    @cached_property
    def fingerprint(self) -> str:
        """A hash of split, glosses and features of every usable sentence; it does not depend on paths."""
        rows = self.cache.rows
        lines = sorted(f"{r.id} {r.split} {' '.join(r.glosses)} {rows[r.id].sha256}" for r in self.records)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


Judge = Callable[[Record, Row], Unusable | None]
"""Returns why a sentence with readable features cannot be used, or None if it can."""


def load(listing: Listing, root: Path, events: Events, judge: Judge) -> Data:
    """Combine corpus and features; the cache is stored below `root`. Raises DataUnusable.

    Sentences that the cache or `judge` rejects, and those with too few frames, move to `refused`.
    """
    cache = open_cache(root, listing, listing.config, events)
    usable, refused = [], list(listing.refused)
    for record in listing.records:
        row = cache.rows.get(record.id)
        fault = judge(record, row) if row else cache.refused.get(record.id)
        if row and row.steps < listing.config.min_frames:  # a folder may be packed with another min_frames
            fault = Unusable(f"has fewer than {listing.config.min_frames} frames", f"it has {row.steps}")
        if row and fault is None:
            usable.append(record)
        else:
            refused.append(Refusal.of(record.id, fault or Unusable("is not among the packed sentences")))
    return Data(replace(listing, records=tuple(usable), refused=tuple(refused)), cache)
