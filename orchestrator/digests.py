"""The sha256 of files that did not change since they were last read: one file a code folder.

Git's rule for a racy entry holds: a file that was written about when it was hashed may have been written
again in the same tick of its clock, so its digest is used once and not kept.
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

from orchestrator.core import codetree
from orchestrator.onhost import folders

SLACK = 2.0  # seconds: the coarsest clock of a file system in use (FAT)
_HEAD = struct.Struct("<8sII")  # magic, crc32 of what follows, number of files
_MAGIC = b"gjdig\0\0\1"
_TYPE = 0o170000  # of a file's mode
_POSITIVE = (1 << 63) - 1
_WIDTH = 64  # hex digits of a sha256
_Stamp = tuple[int, int, int, int]  # bytes, mtime ns, ctime ns, inode
_Known = dict[str, tuple[_Stamp, str]]  # by path: what its file was, and its digest


class Digests:
    """`folder` may be deleted at any time; a damaged file of it is as good as none."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self._folder = folder
        self._now = now

    def entries(self, folder: Path, paths: list[str]) -> list[codetree.Entry]:
        """As uploads.entries, but only what changed is read. 20,000 files that did not: 0.1 s."""
        known, found = self._load(folder), list[codetree.Entry]()
        kept: _Known = {}
        base = os.open(folder, os.O_RDONLY)
        try:
            for path in paths:
                try:
                    about = os.stat(path, dir_fd=base, follow_symlinks=False)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # git lists what was deleted, too
                mode, size = about.st_mode, about.st_size
                if mode & _TYPE != stat.S_IFREG or size > codetree.LARGEST:
                    found += folders.tree_entries(str(folder), [path])
                    continue
                hit, stamp = known.get(path), _stamp(about)
                if hit and hit[0] == stamp:
                    kept[path] = hit
                    digest = hit[1]
                else:
                    digest, trusted = self._read(base, path, stamp)
                    kept |= {path: (stamp, digest)} if trusted else {}
                found.append(codetree.Entry(path, "exec" if mode & 0o100 else "file", size, digest))
        finally:
            os.close(base)
        if kept != known:
            self._keep(folder, kept)
        return found

    def forget(self, folder: Path) -> None:
        """What is known of a folder was wrong: all of it is read again."""
        self._file(folder).unlink(missing_ok=True)

    def _read(self, base: int, path: str, stamp: _Stamp) -> tuple[str, bool]:
        """Its digest, and whether the stamp will tell when that is no longer true."""
        begun = self._now()
        with os.fdopen(os.open(path, os.O_RDONLY, dir_fd=base), "rb") as handle:
            digest = hashlib.sha256(handle.read()).hexdigest()
            after = _stamp(os.fstat(handle.fileno()))
        return digest, after == stamp and max(stamp[1:3]) / 1e9 < begun - SLACK

    def _load(self, folder: Path) -> _Known:
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

    def _keep(self, folder: Path, known: _Known) -> None:
        """A cache that cannot be written is no error."""
        numbers = array("q", [number for stamp, _ in known.values() for number in stamp])
        digests = bytes.fromhex("".join(digest for _, digest in known.values()))
        body = numbers.tobytes() + digests + "\0".join(known).encode("utf-8", "surrogateescape")
        file = self._file(folder)
        temporary = file.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(_HEAD.pack(_MAGIC, zlib.crc32(body), len(known)) + body)
            temporary.replace(file)

    def _file(self, folder: Path) -> Path:
        where = os.fsencode(folder.absolute())
        return self._folder / hashlib.sha256(where).hexdigest()[:16]


def _stamp(about: os.stat_result) -> _Stamp:
    """Of the inode the lower 63 bits, which is what a file of ours holds of it."""
    return (about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino & _POSITIVE)
