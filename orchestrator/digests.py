"""A cache of the sha256 of files that have not changed since they were last read: one file per code folder.

As git does for racy entries, it does not cache a file that was modified shortly before it was hashed: it may
be modified again within the same tick of the file system's clock.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path

from orchestrator import files
from orchestrator.onhost import folders

SLACK = 2.0  # seconds: the coarsest clock of a file system in use (FAT)
_HEAD = struct.Struct("<8sII")  # magic, crc32 of what follows, number of files
_MAGIC = b"gjdig\0\0\1"
_TYPE = 0o170000  # bits of a file's mode
_POSITIVE = (1 << 63) - 1
_WIDTH = 64  # hexadecimal digits of a sha256
_Stamp = tuple[int, int, int, int]  # bytes, mtime ns, ctime ns, inode
_Digests = dict[str, tuple[_Stamp, str]]  # by path: the stamp of the file when it was hashed, and its digest


class Digests:
    """`folder` may be deleted at any time; a damaged file in it is ignored."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self._folder = folder
        self._now = now

    def entries(self, folder: Path, paths: list[str]) -> list[folders.Entry]:
        """As folders.tree_entries, but reads only files that have changed. 20,000 unchanged ones: 0.1 s."""
        cached, entries = self._load(folder), list[folders.Entry]()
        digests: _Digests = {}
        base = os.open(folder, os.O_RDONLY)
        try:
            for path in paths:
                try:
                    status = os.stat(path, dir_fd=base, follow_symlinks=False)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # git also lists files that were deleted
                mode, size = status.st_mode, status.st_size
                if mode & _TYPE != stat.S_IFREG or size > folders.LARGEST:
                    entries += folders.tree_entries(str(folder), [path])
                    continue
                hit, stamp = cached.get(path), _stamp(status)
                if hit and hit[0] == stamp:
                    digests[path] = hit
                    digest = hit[1]
                else:
                    digest, is_stable = self._hash(base, path, stamp)
                    digests |= {path: (stamp, digest)} if is_stable else {}
                entries.append(folders.Entry(path, "exec" if mode & 0o100 else "file", size, digest))
        finally:
            os.close(base)
        if digests != cached:
            self._save(folder, digests)
        return entries

    def forget(self, folder: Path) -> None:
        """Reads all files of a folder again the next time."""
        self._file(folder).unlink(missing_ok=True)

    def _hash(self, base: int, path: str, stamp: _Stamp) -> tuple[str, bool]:
        """The digest, and whether any later change of the file will change its stamp."""
        start = self._now()
        with os.fdopen(os.open(path, os.O_RDONLY, dir_fd=base), "rb") as handle:
            digest = hashlib.sha256(handle.read()).hexdigest()
            after = _stamp(os.fstat(handle.fileno()))
        return digest, after == stamp and max(stamp[1:3]) / 1e9 < start - SLACK

    def _load(self, folder: Path) -> _Digests:
        try:
            raw = self._file(folder).read_bytes()
            magic, crc, count = _HEAD.unpack_from(raw)
        except (OSError, struct.error):
            return {}
        if magic != _MAGIC or crc != zlib.crc32(raw[_HEAD.size :]):
            return {}
        middle = _HEAD.size + count * 32
        numbers = array("q", raw[_HEAD.size : middle])
        digests = raw[middle : (end := middle + count * 32)].hex()
        paths = raw[end:].decode("utf-8", "surrogateescape").split("\0")
        stamps = zip(*(numbers[column::4] for column in range(4)), strict=True)
        each = (digests[at : at + _WIDTH] for at in range(0, len(digests), _WIDTH))
        return dict(zip(paths, zip(stamps, each, strict=True), strict=True))

    def _save(self, folder: Path, entries: _Digests) -> None:
        """A cache that cannot be written is no error."""
        numbers = array("q", [number for stamp, _ in entries.values() for number in stamp])
        digests = bytes.fromhex("".join(digest for _, digest in entries.values()))
        body = numbers.tobytes() + digests + "\0".join(entries).encode("utf-8", "surrogateescape")
        with contextlib.suppress(OSError):
            files.write(self._file(folder), _HEAD.pack(_MAGIC, zlib.crc32(body), len(entries)) + body)

    def _file(self, folder: Path) -> Path:
        name = os.fsencode(folder.absolute())
        return self._folder / hashlib.sha256(name).hexdigest()[:16]


def _stamp(status: os.stat_result) -> _Stamp:
    """The lower 63 bits of the inode, which is what the cache file has room for."""
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & _POSITIVE)
