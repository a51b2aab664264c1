"""Reads, hashes, locks and atomically writes files on this machine. The client uses these functions too."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from typing import Any, BinaryIO, Iterator, Mapping

_BLOCK = 1 << 20


def write(path: str, content: bytes, mode: int = 0o600) -> None:
    """Writes a temporary file and renames it: readers get the old content or the new one, never a part.

    After an OSError the old file is unchanged and the temporary file is deleted.
    """
    temporary = "%s.%d.tmp" % (path, os.getpid())
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_json(path: str, value: Mapping[str, object]) -> None:
    write(path, json.dumps(value).encode())


def load_json(path: str) -> dict[str, Any] | None:
    """Returns the JSON object in `path`; None if the file cannot be read or holds no JSON object."""
    try:
        with open(path, encoding="utf-8") as handle:
            value = json.load(handle)
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@contextlib.contextmanager
def lock(path: str, wait: bool = True) -> Iterator[bool]:
    """Locks the file `path`, which is not deleted; the kernel releases the lock when the process dies.

    Yields True once the lock is held. With `wait=False` it yields False if another process holds it.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(path, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def sha256(path: str) -> str:
    """Returns the sha256 of a file in hexadecimal."""
    with open(path, "rb") as handle:
        return _sha256(handle, None)


def copy(source: str, target: str) -> str:
    """Copies a file's content, which may change meanwhile; returns the sha256 of the copy in hexadecimal."""
    with open(source, "rb") as reader, open(target, "wb") as writer:
        return _sha256(reader, writer)


def _sha256(source: BinaryIO, target: BinaryIO | None) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: source.read(_BLOCK), b""):
        digest.update(block)
        if target:
            target.write(block)
    return digest.hexdigest()


def last_bytes(path: str, limit: int) -> bytes:
    """Returns up to `limit` bytes from the end of a file; empty if it cannot be read."""
    try:
        with open(path, "rb") as handle:
            end = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, end - limit))
            return handle.read(limit)
    except OSError:
        return b""


def size(path: str) -> int:
    """Returns the size of a file in bytes; 0 if it does not exist."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
