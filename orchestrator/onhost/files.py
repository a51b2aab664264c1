"""Reads, hashes, locks and atomically writes files on this machine. The client uses these functions too."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from typing import Any, BinaryIO, Iterator, Mapping, cast

from orchestrator.core import jsontext

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524)  # 524: ENOTSUPP of autofs and old NFS
_BLOCK = 1 << 20
# Does not wait for a reader of a named pipe that a run put in the place of a file.
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK
LONGEST_JSON = 8 << 20  # bytes; the largest is a run.json with the patch of a dirty tree
_TAIL = 16 * 1024  # bytes at the end of a log that are searched for its last lines
hashed_bytes = 0  # by this process so far: the progress of a request that hashes large files


class NoLocks(Exception):
    """The file system of `path` has no locks, without which two processes would write at the same time."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__("the file system of %s has no file locks (flock: %s)" % (path, reason))


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


def append(path: str, content: bytes) -> None:
    """Appends to a file, which is created; OSError for a named pipe that nobody reads, without waiting."""
    descriptor = os.open(path, APPEND, 0o600)
    with os.fdopen(descriptor, "ab", buffering=0) as handle:
        handle.write(content)


def write_json(path: str, value: Mapping[str, object]) -> None:
    write(path, json.dumps(value).encode())


def load_json(path: str, faults: list[str] | None = None) -> dict[str, Any] | None:
    """Returns the JSON object in `path`; None if the file cannot be read or holds no JSON object.

    Why a file that exists cannot be used is appended to `faults`.
    """
    try:
        content = read(path, LONGEST_JSON + 1)
        if len(content) > LONGEST_JSON:
            raise jsontext.BadJson("larger than %d MiB" % (LONGEST_JSON >> 20))
        return jsontext.parse_object(content)
    except FileNotFoundError:
        return None
    except OSError as error:
        fault = error.strerror or str(error)
    except jsontext.BadJson as error:
        fault = str(error)
    if faults is not None:
        faults.append("%s cannot be read: %s" % (os.path.basename(path), fault))
    return None


def load(path: str, faults: list[str] | None = None) -> jsontext.Object | None:
    """As load_json, to be read key by key; `faults` receives each key with a value of the wrong type too."""
    values = load_json(path, faults)
    return None if values is None else jsontext.Object(values, faults, os.path.basename(path) + ": ")


def open_regular(path: str) -> BinaryIO:
    """Opens a regular file to read; OSError for a named pipe or a device, which could block for ever."""
    return cast(BinaryIO, os.fdopen(_open(path)[0], "rb"))


def _open(path: str) -> tuple[int, int]:
    """Returns the descriptor of a regular file, and its size in bytes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor, about.st_size


def read(path: str, limit: int, at_end: bool = False) -> bytes:
    """Returns the first `limit` bytes of a regular file, or its last ones; OSError as of open_regular.

    Without a file object, which takes as long as all the rest: `status` reads several files of each run.
    """
    descriptor, size = _open(path)
    try:
        # Not more than it has: Python would reserve memory for all that is asked for.
        end = size if at_end else min(size, limit)
        offset, content = max(0, end - limit), b""
        while offset < end and (block := os.pread(descriptor, end - offset, offset)):
            content += block
            offset += len(block)
        return content
    finally:
        os.close(descriptor)


def resumed(handle: BinaryIO, offset: int) -> int:
    """Returns where a reader that has read up to `offset` goes on: at the begin of a file that was cut since.

    An empty file may be about to be written, so the reader waits.
    """
    return 0 if 0 < handle.seek(0, os.SEEK_END) < offset else offset


@contextlib.contextmanager
def lock(path: str, wait: bool = True) -> Iterator[bool]:
    """Locks the file `path`, which is not deleted; the kernel releases the lock when the process dies.

    Yields True once the lock is held. With `wait=False` it yields False if another process holds it. Raises
    NoLocks if the file system has none.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    # For writing too, as locks of NFS require: a named pipe, which a run may put there, is opened at once.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield lock_descriptor(descriptor, path, wait)
    finally:
        os.close(descriptor)


def lock_descriptor(descriptor: int, path: str, wait: bool) -> bool:
    """Locks an open file; returns False if another process holds it. Raises NoLocks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise NoLocks(path, error.strerror or str(error)) from None
    return True


def mtime(path: str) -> float:
    """Returns when a file was last written, in seconds since 1970; 0 if there is none."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def sha256(path: str) -> str:
    """Returns the sha256 of a regular file in hexadecimal."""
    with open_regular(path) as handle:
        return _sha256(handle, None)


def copy(source: str, target: str) -> str:
    """Copies a file's content, which may change meanwhile; returns the sha256 of the copy in hexadecimal."""
    with open_regular(source) as reader, open(target, "wb") as writer:
        return _sha256(reader, writer)


def _sha256(source: BinaryIO, target: BinaryIO | None) -> str:
    global hashed_bytes
    import hashlib  # noqa: PLC0415 - 3 ms that `status` does not need

    digest = hashlib.sha256()
    for block in iter(lambda: source.read(_BLOCK), b""):
        digest.update(block)
        hashed_bytes += len(block)
        if target:
            target.write(block)
    return digest.hexdigest()


def last_bytes(path: str, limit: int) -> bytes:
    """Returns up to `limit` bytes from the end of a file; empty if it cannot be read."""
    try:
        return read(path, limit, at_end=True)
    except OSError:
        return b""


def last_lines(path: str, count: int) -> list[str]:
    """Returns the last lines as a terminal shows them: the text after a line's last carriage return."""
    if count <= 0:
        return []
    text = last_bytes(path, _TAIL).decode("utf-8", errors="replace")
    shown = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]
    return [line for line in shown if line.strip()][-count:]


def size(path: str) -> int:
    """Returns the size of a regular file in bytes; 0 if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def fault(path: str) -> str | None:
    """Returns why `path` cannot be read as a file, without opening it; None if it can, or is missing."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror or str(error)
    return None if stat.S_ISREG(mode) else "not a regular file"
