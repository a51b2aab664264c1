"""What stands in a data folder: files, bytes and a fingerprint of names, sizes, times."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Iterator


@dataclass(frozen=True)
class DataFolder:
    """`fingerprint` tells whether anything changed here; contents are hashed by the trainer."""

    name: str
    path: str
    files: int
    bytes: int
    fingerprint: str


def describe(name: str, path: str) -> DataFolder:
    """Walks the folder once (7,441 files: 50 ms). The path must exist; one file is a folder of one."""
    found = sorted(_stats(path))
    lines = [f"{relative}\0{size}\0{mtime}\0" for relative, size, mtime in found]
    whole = hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape"))
    return DataFolder(name, path, len(found), sum(size for _, size, _ in found), whole.hexdigest()[:32])


def _stats(path: str) -> Iterator[tuple[str, int, int]]:
    """Path below `path`, bytes and mtime in ns of each file."""
    if os.path.isfile(path):
        stat = os.stat(path)
        yield os.path.basename(path), stat.st_size, stat.st_mtime_ns
        return
    pending, seen = [(path, "")], set()
    while pending:
        folder, before = pending.pop()
        about = os.stat(folder)
        if (about.st_dev, about.st_ino) in seen:
            continue  # a link that leads back
        seen.add((about.st_dev, about.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    pending.append((entry.path, before + entry.name + "/"))
                elif entry.is_file():
                    stat = entry.stat()
                    yield before + entry.name, stat.st_size, stat.st_mtime_ns
