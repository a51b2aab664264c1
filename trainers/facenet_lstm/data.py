"""NPZ files, read strictly, and the memory-mapped cache that spares an epoch their unzipping."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data import emotions, partial, recordings
from trainers.data.recordings import Listing, Record, Refusal
from trainers.data.refusal import Unusable, read_or_stop
from trainers.engine.events import Events
from trainers.facenet_lstm.files import stem

WIDTH = 512
SCHEMA = 1
KEY = "video_features"
FEATURES, INDEX = "features.f32", "index.json"


def read_npz(path: Path, min_steps: int, name: emotions.Name | None = None) -> np.ndarray:
    """The features (T, 512) float32 of one file. Raises Unusable, or Unread.

    With `name`, the video that the file itself names must be the one its own name tells.
    """
    with read_or_stop(path):
        values, steps, source = _parsed(path.read_bytes())
        _judge(values, steps, min_steps)
        if name is not None and source:
            _same_video(name, stem(source))
        return np.ascontiguousarray(values, dtype=np.float32)


def _parsed(content: bytes) -> tuple[np.ndarray, int | None, str]:
    """Features, how many time stamps there are, the video it names."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            keys = list(held.keys())
            if KEY not in keys:
                raise Unusable(f"has no key {KEY}", f"it holds {', '.join(keys) or 'nothing'}")
            values = held[KEY]
            steps = len(held["timestamps"]) if "timestamps" in keys else None
            source = str(held["video_path"]) if "video_path" in keys else ""
    except (Unusable, MemoryError):
        raise
    except Exception as fault:  # zipfile, zlib, numpy and its header's parser raise a dozen kinds
        raise Unusable("is no readable NPZ", str(fault).split("\n")[0]) from fault
    return values, steps, source


def _judge(values: np.ndarray, steps: int | None, least: int) -> None:
    if values.ndim != 2 or values.shape[1] != WIDTH:
        raise Unusable(f"{KEY} is not (T, {WIDTH})", f"it is {values.shape}")
    if values.dtype.kind != "f":
        raise Unusable(f"{KEY} is not of floating point", f"it is {values.dtype}")
    if len(values) < least:
        raise Unusable(f"has fewer than {least} time steps", f"it has {len(values)}")
    if steps is not None and steps != len(values):
        detail = f"{steps} and {len(values)}"
        raise Unusable("timestamps and features differ in length", detail)
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise Unusable("holds NaN or infinity", f"{bad} of {values.size} values")
    if (values == values[0]).all():
        raise Unusable("every time step is the same")


def _same_video(name: emotions.Name, source: str) -> None:
    """A video_path in the naming scheme must be this video; another scheme tells nothing."""
    try:
        other = emotions.parse(source)
    except emotions.BadName:
        return
    if other.take != name.take:
        raise Unusable("holds another video than its name says", source, code="label.match")


@dataclass(frozen=True)
class Row:
    """Where a record's features stand, their hash, and the row norm farthest from 1."""

    id: str
    offset: int
    steps: int
    sha256: str
    norm: float


class Cache:
    """The features of all usable records, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        self.folder = folder
        self.rows = {row["id"]: Row(**row) for row in index["rows"]}
        self.refused: list[dict[str, str]] = index["refused"]
        steps = sum(row.steps for row in self.rows.values())
        shape = (steps, WIDTH)
        if (folder / FEATURES).stat().st_size != steps * WIDTH * 4:
            raise OSError(f"{folder / FEATURES} is not as long as its index says")
        self._values = (
            np.memmap(folder / FEATURES, np.float32, "r", shape=shape)
            if steps
            else np.zeros(shape, np.float32)
        )

    def features(self, id: str) -> np.ndarray:
        """(T, 512) float32, a read-only view of the file."""
        row = self.rows[id]
        return np.asarray(self._values[row.offset : row.offset + row.steps])

    def damaged(self) -> list[str]:
        """The ids whose features are not those that were written."""
        return [id for id, row in self.rows.items() if _hash(self.features(id)) != row.sha256]


def _hash(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _listing_key(records: Sequence[Record], min_steps: int) -> str:
    """Names, sizes and times of the files: tells, without reading them, that a cache is theirs."""
    lines = [f"schema {SCHEMA} min_steps {min_steps}"]
    for record in records:
        facts = record.path.stat()
        lines.append(f"{record.id} {record.path} {facts.st_size} {facts.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def open_cache(root: Path, listing: Listing, min_steps: int, events: Events) -> Cache:
    """The cache of these files below `root`, built if it is not there."""
    folder = root / _listing_key(listing.records, min_steps)
    try:
        return Cache(folder)
    except (OSError, ValueError, KeyError, TypeError):
        _build(folder, listing.records, min_steps, events)
    return Cache(folder)


def _build(folder: Path, records: Sequence[Record], min_steps: int, events: Events) -> None:
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    rows: list[Row] = []
    refused: list[dict[str, str]] = []
    with partial.swept(beside), (beside / FEATURES).open("wb") as file:
        for done, (record, values) in enumerate(_read_all(records, min_steps), 1):
            if isinstance(values, Unusable):
                fault = {"code": values.code, "reason": values.reason, "detail": values.detail}
                refused.append({"id": record.id, **fault})
            else:
                start = rows[-1].offset + rows[-1].steps if rows else 0
                rows.append(_row(record, values, start))
                file.write(values.tobytes())
            if done % 250 == 0 or done == len(records):
                events("progress", phase="cache", step=done, of=len(records))
        file.flush()
        os.fsync(file.fileno())
    index = {"schema": SCHEMA, "rows": [asdict(row) for row in rows], "refused": refused}
    (beside / INDEX).write_text(json.dumps(index))
    _publish(beside, folder)


def _publish(beside: Path, folder: Path) -> None:
    if folder.exists():
        # Either damaged, or another run was faster: the same files give the same cache.
        shutil.rmtree(folder, ignore_errors=True)
    try:
        beside.rename(folder)
    except OSError:
        shutil.rmtree(beside)


def _read_all(records: Sequence[Record], min_steps: int) -> Iterator[tuple[Record, np.ndarray | Unusable]]:
    for record in records:
        try:
            yield record, read_npz(record.path, min_steps, record.name)
        except Unusable as fault:
            yield record, fault


def _row(record: Record, values: np.ndarray, offset: int) -> Row:
    norms = np.linalg.norm(values, axis=1)
    farthest = float(norms[np.argmax(np.abs(norms - 1.0))])
    return Row(record.id, offset, len(values), _hash(values), farthest)


@dataclass(frozen=True)
class Data:
    """The usable records in order, the split of each (`home`), and what was refused."""

    found: int
    records: tuple[Record, ...]
    refused: tuple[Refusal, ...]
    home: dict[str, str]
    cache: Cache

    @property
    def fingerprint(self) -> str:
        """A hash of every usable record: its split, label and features, wherever they lie."""
        digests = {id: row.sha256 for id, row in self.cache.rows.items()}
        return recordings.fingerprint(self.records, self.home, digests)


def join(listing: Listing, home: dict[str, str], cache: Cache) -> Data:
    """What the names tell and what the files hold, put together."""
    usable = tuple(record for record in listing.records if record.id in cache.rows)
    paths = {record.id: record.path for record in listing.records}
    unread = [_refusal(paths[entry["id"]], entry) for entry in cache.refused]
    return Data(listing.found, usable, (*listing.refused, *unread), home, cache)


def _refusal(path: Path, entry: dict[str, Any]) -> Refusal:
    return Refusal(path, entry["code"], entry["reason"], entry["detail"])
