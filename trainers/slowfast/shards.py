"""Shards of decoded frames: one file of frames and one that says what is in it. No torch is imported here."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from trainers.data import partial
from trainers.data.refusal import Unusable
from trainers.slowfast import video
from trainers.slowfast.video import Box

SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """A video's frames in its shard: the offset of the first, the bytes of each, a hash of all."""

    id: str
    offset: int
    sizes: list[int]
    rate: float
    sha256: str

    @property
    def frames(self) -> int:
        """How many."""
        return len(self.sizes)


@dataclass(frozen=True)
class Kind:
    """How frames are kept."""

    size: int
    format: str

    def encoded(self, frames: np.ndarray) -> list[bytes]:
        """Frames (T, S, S, 3), each as it is kept."""
        return video.encode(frames) if self.format == "jpeg" else [frame.tobytes() for frame in frames]

    def decoded(self, blob: np.ndarray, out: np.ndarray) -> None:
        """One kept frame into `out` (S, S, 3)."""
        if self.format == "jpeg":
            video.decode(blob, out)
        else:
            out[:] = blob.reshape(out.shape)

    def as_kept(self, frames: np.ndarray) -> np.ndarray:
        """What comes back of frames once they were kept: the same a training saw."""
        again = np.empty_like(frames)
        for blob, out in zip(self.encoded(frames), again, strict=True):
            self.decoded(np.frombuffer(blob, np.uint8), out)
        return again


@dataclass(frozen=True)
class Source:
    """One video to be decoded, and what tells, without reading it, that it is the same file."""

    id: str
    path: str
    bytes: int
    mtime: int
    box: Box | None


@dataclass(frozen=True)
class Shard:
    """What one shard is made of."""

    folder: str
    kind: Kind
    sources: tuple[Source, ...]

    @property
    def key(self) -> str:
        """A hash of all that decides its content; not of where the files lie."""
        lines = [f"{SCHEMA} {self.kind} {video.QUALITY}"]
        lines += [f"{s.id} {s.bytes} {s.mtime} {s.box}" for s in self.sources]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]

    @property
    def files(self) -> tuple[Path, Path]:
        """Frames and index."""
        return Path(self.folder, f"{self.key}.bin"), Path(self.folder, f"{self.key}.json")


def build(shard: Shard, begins: Callable[[str], None] = lambda path: None) -> int:
    """Decode a shard's videos and write it; how many there are. Runs in a process of its own.

    `begins` is told each path before it is decoded. Raises Unread.
    """
    frames, index = shard.files
    beside = frames.with_name(f".{frames.name}.{os.getpid()}.tmp")
    rows: list[Row] = []
    refused: list[dict[str, str]] = []
    with partial.swept(beside), beside.open("wb") as file:
        for source in shard.sources:
            begins(source.path)
            try:
                seen = video.read(Path(source.path), shard.kind.size, source.box)
            except Unusable as fault:
                refused.append({"id": source.id, "reason": fault.reason, "detail": fault.detail})
                continue
            kept = shard.kind.encoded(seen.frames)
            whole = b"".join(kept)
            digest = hashlib.sha256(whole).hexdigest()
            rows.append(Row(source.id, file.tell(), [len(blob) for blob in kept], seen.rate, digest))
            file.write(whole)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(frames)
    beside = index.with_name(f".{index.name}.{os.getpid()}.tmp")
    beside.write_text(json.dumps({"rows": [asdict(row) for row in rows], "refused": refused}))
    beside.replace(index)
    return len(shard.sources)


def whole(shard: Shard) -> bool:
    """Whether it is there, index and all."""
    frames, index = shard.files
    try:
        rows = json.loads(index.read_text())["rows"]
        return frames.stat().st_size == sum(sum(row["sizes"]) for row in rows)
    except (OSError, ValueError, KeyError, TypeError):
        return False
