"""Packed caches: encoded records of many files in a few large files, written once and memory-mapped.

A cache is a list of shards. A shard is a folder whose name is a hash of all that determines its content: the
version of this format, the encoding, and the id, size, modification time and variant of each source.

    records.bin   the encoded records, one after the other
    index.json    {"schema", "rows", "refused"}: offset, size, SHA-256 of each record, fields of the trainer

A shard gets its name when it is complete on disk, so an interrupted build continues with the missing shards,
and two builds can run at the same time. A source that cannot be used is listed in `refused` with its reason.
An error of the file system or of memory says nothing about a source: it raises Unread, and the shard is
discarded.

A trainer provides a function that encodes one source, and a subclass of Row with additional fields. This
module does not import torch.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

import numpy as np

from trainers.data.refusal import Unusable, read_or_stop
from trainers.engine import atomic
from trainers.engine.events import Events

SCHEMA = 2
RECORDS, INDEX = "records.bin", "index.json"

SHARD_SIZE = 1024
"""Approximate number of records per shard."""

EVENT_EVERY = 50
"""Number of records between progress events."""


class Incomplete(Exception):
    """A folder is not a complete shard of this version; the message says why."""


@dataclass(frozen=True)
class Source:
    """The source of one record. `variant` identifies what determines its content besides the file."""

    id: str
    path: str
    size: int
    mtime_ns: int
    variant: str = ""

    @classmethod
    def of(cls, id: str, path: Path, variant: str = "") -> "Source":
        """Create a source with size and modification time of the file. Raises Unread."""
        with read_or_stop(path):
            facts = path.stat()
        return cls(id, str(path), facts.st_size, facts.st_mtime_ns, variant)


@dataclass(frozen=True)
class Encoded:
    """An encoded record: its bytes and the values of the fields that the trainer's Row adds.

    If `stored` is False, only the hash of the bytes is stored (in the index), not the bytes.
    """

    content: bytes
    fields: Mapping[str, Any] = field(default_factory=dict)
    stored: bool = True


@dataclass(frozen=True)
class Row:
    """The index entry of a record: offset and size in the shard, in bytes, and SHA-256 of its content."""

    id: str
    offset: int
    size: int
    sha256: str


R = TypeVar("R", bound=Row)
Encode = Callable[[Source], Encoded]
"""Reads and encodes one source. Raises Unusable, or Unread."""

Advance = Callable[[int], None]
"""Called with the number of records that were just finished."""


def digest(text: str) -> str:
    """The first 32 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


@dataclass(frozen=True)
class Shard:
    """The sources of one shard. `encoding` identifies how they are encoded, including options."""

    root: str
    encoding: str
    sources: tuple[Source, ...]

    @property
    def folder(self) -> Path:
        """The folder of the shard. Its name does not depend on the paths of the sources."""
        facts = [[s.id, s.size, s.mtime_ns, s.variant] for s in self.sources]
        return Path(self.root, digest(json.dumps([SCHEMA, self.encoding, facts])))


def shards(root: Path, encoding: str, sources: Iterable[Source], size: int = SHARD_SIZE) -> tuple[Shard, ...]:
    """Distribute sources to shards of about `size`, by a hash of the id.

    A changed source changes only its own shard.
    """
    listed = tuple(sources)
    count = 1 << max(0, -(-len(listed) // size) - 1).bit_length()
    members: list[list[Source]] = [[] for _ in range(count)]
    for source in listed:
        members[int(digest(source.id)[:8], 16) % count].append(source)
    return tuple(Shard(str(root), encoding, tuple(some)) for some in members if some)


def write(
    folder: Path,
    sources: Iterable[Source],
    encode: Encode,
    header: Mapping[str, Any] | None = None,
) -> None:
    """Encode the sources into `folder`, which appears when it is complete. Raises Unread.

    `header` is added to the index. If another process has already written a complete shard of that name,
    it is kept.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = atomic.temporary(folder)
    temporary.mkdir()
    try:
        with (temporary / RECORDS).open("wb") as file:
            index = _encode_all(sources, encode, file)
            file.flush()
            os.fsync(file.fileno())
        (temporary / INDEX).write_text(json.dumps({"schema": SCHEMA, **(header or {}), **index}))
        _publish(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _encode_all(
    sources: Iterable[Source], encode: Encode, file: IO[bytes]
) -> dict[str, list[dict[str, Any]]]:
    rows, refused = [], []
    for source in sources:
        try:
            encoded = encode(source)
        except Unusable as fault:
            reason = {"code": fault.code, "reason": fault.reason, "detail": fault.detail}
            refused.append({"id": source.id, **reason})
            continue
        offset, content = file.tell(), encoded.content if encoded.stored else b""
        file.write(content)
        row = Row(source.id, offset, len(content), hashlib.sha256(encoded.content).hexdigest())
        rows.append({**asdict(row), **encoded.fields})
    return {"rows": rows, "refused": refused}


def _publish(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        if is_complete(folder):
            return
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)


def is_complete(folder: Path, row_type: type[Row] | None = None) -> bool:
    """Whether the folder is a complete shard of this version."""
    try:
        _read_index(folder, row_type)
    except Incomplete:
        return False
    return True


Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""Converts an index of an earlier version to this version."""


@dataclass(frozen=True)
class _Index(Generic[R]):
    rows: tuple[R, ...]
    refused: dict[str, Unusable]
    records: Path


def _read_index(folder: Path, row_type: type[R] | None, upgrade: Upgrade = dict) -> _Index[R]:
    try:
        index = upgrade(json.loads((folder / INDEX).read_text()))
        if index["schema"] != SCHEMA:
            raise ValueError(f"schema {index['schema']}, this version reads {SCHEMA}")
        sizes = sum(row["size"] for row in index["rows"])
        records = folder / index.get("records", RECORDS)
        if records.stat().st_size != sizes:
            raise ValueError(f"{records.name} is not as long as the index says")
        rows = tuple(row_type(**row) for row in index["rows"]) if row_type else ()
        refused = {e["id"]: Unusable(e["reason"], e["detail"], e["code"]) for e in index["refused"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise Incomplete(f"{folder}: {fault}") from fault
    return _Index(rows, refused, records)


class Cache(Generic[R]):
    """Opened shards: the rows of all records, and the refused sources, by id."""

    def __init__(self, folders: Sequence[Path], row_type: type[R], upgrade: Upgrade = dict) -> None:
        """Open the shards in `folders`. Raises Incomplete."""
        self.folders = tuple(folders)
        self.rows: dict[str, R] = {}
        self.refused: dict[str, Unusable] = {}
        self._files: dict[str, Path] = {}
        self._mapped: dict[Path, np.ndarray] = {}
        for folder in folders:
            index = _read_index(folder, row_type, upgrade)
            self.rows |= {row.id: row for row in index.rows}
            self.refused |= index.refused
            self._files |= dict.fromkeys((row.id for row in index.rows), index.records)

    def content(self, id: str) -> np.ndarray:
        """The encoded bytes of a record, (size,) uint8, as a read-only view of the file."""
        path, row = self._files[id], self.rows[id]
        if path not in self._mapped:
            self._mapped[path] = np.memmap(path, np.uint8, "r")
        return np.asarray(self._mapped[path][row.offset : row.offset + row.size])

    def damaged(self) -> dict[str, Path]:
        """The records whose content no longer has the stored SHA-256: id to folder of the shard."""
        return {
            id: self._files[id].parent
            for id, row in self.rows.items()
            if hashlib.sha256(self.content(id).tobytes()).hexdigest() != row.sha256
        }


Build = Callable[[Sequence[Shard], Advance], None]
"""Writes shards, and calls its second argument with the number of finished records."""


def ensure(parts: Sequence[Shard], row_type: type[Row], build: Build, events: Events) -> list[Path]:
    """Return the folders of these shards, after `build` has written the missing and incomplete ones."""
    missing = [shard for shard in parts if not is_complete(shard.folder, row_type)]
    for shard in missing:
        shutil.rmtree(shard.folder, ignore_errors=True)
    if missing:
        total, rest = (sum(len(shard.sources) for shard in some) for some in (parts, missing))
        build(missing, progress(events, total - rest, total))
    return [shard.folder for shard in parts]


def build_here(encode: Encode) -> Build:
    """Create a Build function that encodes the shards one after the other in this process."""

    def build(missing: Sequence[Shard], advance: Advance) -> None:
        for shard in missing:
            write(shard.folder, counted(shard.sources, advance), encode)

    return build


def counted(sources: Iterable[Source], advance: Advance) -> Iterator[Source]:
    """Yield the sources; calls `advance(1)` after each one was processed."""
    for source in sources:
        yield source
        advance(1)


def progress(events: Events, done: int, total: int) -> Advance:
    """Create an Advance function that writes a progress event every EVENT_EVERY records and at the end."""

    def advance(records: int) -> None:
        nonlocal done
        before, done = done, done + records
        if done == total or done // EVENT_EVERY > before // EVENT_EVERY:
            events("progress", phase="cache", step=done, of=total)

    return advance
