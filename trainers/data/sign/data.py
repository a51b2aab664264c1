"""The packed cache: raw columns of all usable sentences in float16, memory-mapped."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data import normalise, partial
from trainers.data.landmarks import RAW
from trainers.data.refusal import Unusable
from trainers.data.sign.config import SignConfig
from trainers.data.sign.files import INDEX, Listing, Record, Refusal
from trainers.data.sign.reading import Landmarks, derive, read
from trainers.engine.events import Events

SCHEMA = 1
FEATURES = "features.f16"
WIDTH = RAW * 2


@dataclass(frozen=True)
class Row:
    """Where a sentence's frames stand, their hash, and how its masks agree with its zeros."""

    id: str
    offset: int
    steps: int
    sha256: str
    agreement: float | None


class Cache:
    """Raw columns by sentence: of the memory-mapped file or, without one, of the files themselves.

    `folder` may be the user's own and is only read; what is computed of it is kept below `root`.
    """

    def __init__(self, root: Path, folder: Path, files: dict[str, Path] | None = None) -> None:
        index = json.loads((folder / INDEX).read_text())
        if index["schema"] != SCHEMA:
            raise ValueError(f"{folder / INDEX} is of schema {index['schema']}, this version reads {SCHEMA}")
        self.root, self.folder, self.files = root, folder, files
        self.rows = {row["id"]: Row(**row) for row in index["rows"]}
        self.refused: list[dict[str, str]] = index["refused"]
        if files is None:
            self._values = self._open(sum(row.steps for row in self.rows.values()))

    def _open(self, steps: int) -> np.ndarray:
        path = self.folder / FEATURES
        if path.stat().st_size != steps * WIDTH:
            raise OSError(f"{path} is not as long as its index says")
        if not steps:
            return np.zeros((0, RAW), np.float16)
        return np.memmap(path, np.float16, "r", shape=(steps, RAW))

    def raw(self, id: str) -> np.ndarray:
        """(T, 1629) float16, a read-only view of the file where it is packed."""
        row = self.rows[id]
        if self.files is not None:
            return read(self.files[id], 1).raw
        return np.asarray(self._values[row.offset : row.offset + row.steps])

    def damaged(self) -> list[str]:
        """The ids whose features are not those that were written."""
        return [id for id, row in self.rows.items() if _hash(self.raw(id)) != row.sha256]

    def statistics(self, ids: Sequence[str]) -> normalise.Normaliser:
        """Mean and floored std of the 4,887 derived columns over these sentences; kept below `root`."""
        lines = "\n".join([f"schema {SCHEMA}", *(f"{id} {self.rows[id].sha256}" for id in ids)])
        path = self.root / f"statistics-{hashlib.sha256(lines.encode()).hexdigest()[:32]}.json"
        try:
            return normalise.Normaliser.from_dict(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError):
            found = normalise.fit((derive(self.raw(id)) for id in ids), ids)
        self.root.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        beside.write_text(json.dumps(found.as_dict()))
        beside.replace(path)
        return found


def _hash(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _listing_key(listing: Listing, config: SignConfig) -> str:
    """Names, sizes and times of the files: tells, without reading them, that a cache is theirs."""
    lines = [f"schema {SCHEMA} min_frames {config.min_frames} pack {config.pack} {listing.layout.name}"]
    for record in listing.records:
        assert record.path is not None
        facts = record.path.stat()
        lines.append(f"{record.id} {record.path} {facts.st_size} {facts.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def open_cache(root: Path, listing: Listing, config: SignConfig, events: Events) -> Cache:
    """The packed folder itself, or the cache of these files below `root`, built if it is not there."""
    if listing.packed is not None:
        return Cache(root, listing.packed)
    folder = root / _listing_key(listing, config)
    files = None if config.pack else {r.id: r.path for r in listing.records if r.path is not None}
    try:
        return Cache(root, folder, files)
    except (OSError, ValueError, KeyError, TypeError):
        build(folder, listing, config.min_frames, config.pack, events)
    return Cache(root, folder, files)


def build(folder: Path, listing: Listing, min_frames: int, pack: bool, events: Events) -> dict[str, int]:
    """Read every file and write the cache; it appears under its name when it is whole.

    Gives the bytes that were read and written.
    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    rows: list[Row] = []
    refused: list[dict[str, str]] = []
    with partial.swept(beside), (beside / FEATURES).open("wb") as file:
        for done, record in enumerate(listing.records, 1):
            held = _try(record, min_frames)
            if isinstance(held, Unusable):
                fault = {"code": held.code, "reason": held.reason, "detail": held.detail}
                refused.append({"id": record.id, **fault})
            else:
                start = rows[-1].offset + rows[-1].steps if rows else 0
                rows.append(Row(record.id, start, len(held.raw), _hash(held.raw), held.agreement))
                if pack:
                    file.write(held.raw.tobytes())
            if done % 100 == 0 or done == len(listing.records):
                events("progress", phase="cache", step=done, of=len(listing.records))
        file.flush()
        os.fsync(file.fileno())
    index = {"schema": SCHEMA, "layout": listing.layout.as_dict(), "protocol": listing.protocol}
    listed = {"rows": [asdict(row) for row in rows], "refused": refused}
    (beside / INDEX).write_text(json.dumps({**index, **listed}))
    publish(beside, folder)
    paths = [record.path for record in listing.records if record.path is not None]
    read_bytes = sum(path.stat().st_size for path in paths)
    return {"read": read_bytes, "written": (folder / FEATURES).stat().st_size}


def _try(record: Record, min_frames: int) -> Landmarks | Unusable:
    assert record.path is not None
    try:
        return read(record.path, min_frames)
    except Unusable as fault:
        return fault


def publish(beside: Path, folder: Path) -> None:
    """Put a whole folder in its place."""
    if folder.exists():
        # Either damaged, or another run was faster: the same files give the same cache.
        shutil.rmtree(folder, ignore_errors=True)
    try:
        beside.rename(folder)
    except OSError:
        shutil.rmtree(beside)


@dataclass(frozen=True)
class Data:
    """The usable records, what was refused, and their features; `listing` is where they come from."""

    listing: Listing
    records: tuple[Record, ...]
    refused: tuple[Refusal, ...]
    cache: Cache

    @property
    def fingerprint(self) -> str:
        """A hash of every usable sentence: its split, glosses and features, wherever they lie."""
        rows = self.cache.rows
        lines = sorted(f"{r.id} {r.split} {' '.join(r.glosses)} {rows[r.id].sha256}" for r in self.records)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def load(folder: Path, listing: Listing, cache_root: Path, config: SignConfig, events: Events) -> Data:
    """Corpus and features, put together."""
    cache = open_cache(cache_root, listing, config, events)
    unread = {entry["id"]: entry for entry in cache.refused}
    usable, refused = [], list(listing.refused)
    for record in listing.records:
        row = cache.rows.get(record.id)
        if row is not None and row.steps < config.min_frames:
            detail = f"it has {row.steps}"
            refused.append(
                Refusal(record.id, "schema.keys", f"has fewer than {config.min_frames} frames", detail)
            )
        elif row is not None:
            usable.append(record)
        else:
            refused.append(_refusal(record, unread.get(record.id)))
    return Data(listing, tuple(usable), tuple(refused), cache)


def _refusal(record: Record, entry: dict[str, Any] | None) -> Refusal:
    if entry is None:
        return Refusal(record.id, "schema.keys", "is not among the packed sentences")
    return Refusal(record.id, entry["code"], entry["reason"], entry["detail"])
