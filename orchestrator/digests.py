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
from orchestrator.onhost import trees

SLACK = 2.0  # seconds: the coarsest clock of a file system in use (FAT)
_HEAD = struct.Struct("<8sII")  # magic, crc32 of what follows, number of files
_MAGIC = b"gjdig\0\0\1"
_WIDTH = 64  # hex digits of a sha256
_Stamp = tuple[str, int, int, int, int]  # path, bytes, mtime ns, ctime ns, inode


class Digests:
    """`folder` may be deleted at any time; a damaged file of it is as good as none."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self._folder = folder
        self._now = now

    def entries(self, folder: Path, paths: list[str]) -> list[codetree.Entry]:
        """As trees.entries, but only what changed is read."""
        known, kept, found = self._load(folder), {}, []
        base = os.open(folder, os.O_RDONLY)
        try:
            for path in paths:
                try:
                    about = os.stat(path, dir_fd=base, follow_symlinks=False)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # git lists what was deleted, too
                if not stat.S_ISREG(about.st_mode):
                    found += trees.entries(str(folder), [path])
                    continue
                digest = ""
                if about.st_size <= codetree.LARGEST:
                    stamp = _stamp(path, about)
                    digest = known.get(stamp) or ""
                    if digest:
                        kept[stamp] = digest
                    else:
                        digest = self._read(base, stamp, kept)
                kind = "exec" if about.st_mode & 0o100 else "file"
                found.append(codetree.Entry(path, kind, about.st_size, digest))
        finally:
            os.close(base)
        if kept != known:
            self._keep(folder, kept)
        return found

    def forget(self, folder: Path) -> None:
        """What is known of a folder was wrong: all of it is read again."""
        self._file(folder).unlink(missing_ok=True)

    def _read(self, base: int, stamp: _Stamp, kept: dict[_Stamp, str]) -> str:
        begun = self._now()
        with open(os.open(stamp[0], os.O_RDONLY, dir_fd=base), "rb") as handle:
            digest = hashlib.sha256(handle.read()).hexdigest()
            after = _stamp(stamp[0], os.fstat(handle.fileno()))
        if after == stamp and max(stamp[2], stamp[3]) / 1e9 < begun - SLACK:
            kept[stamp] = digest
        return digest

    def _load(self, folder: Path) -> dict[_Stamp, str]:
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
        stamps = zip(paths, *(numbers[column::4] for column in range(4)), strict=True)
        return {stamp: digests[at * _WIDTH : at * _WIDTH + _WIDTH] for at, stamp in enumerate(stamps)}

    def _keep(self, folder: Path, known: dict[_Stamp, str]) -> None:
        """A cache that cannot be written is no error."""
        numbers = array("q", [number for stamp in known for number in stamp[1:]])
        paths = "\0".join(stamp[0] for stamp in known).encode("utf-8", "surrogateescape")
        body = numbers.tobytes() + bytes.fromhex("".join(known.values())) + paths
        file = self._file(folder)
        temporary = file.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(_HEAD.pack(_MAGIC, zlib.crc32(body), len(known)) + body)
            temporary.replace(file)

    def _file(self, folder: Path) -> Path:
        where = os.path.abspath(folder).encode("utf-8", "surrogateescape")
        return self._folder / hashlib.sha256(where).hexdigest()[:16]


def _stamp(path: str, about: os.stat_result) -> _Stamp:
    """Of the inode the lower 63 bits, which is what a file of ours holds of it."""
    inode = about.st_ino & 0x7FFF_FFFF_FFFF_FFFF
    return (path, about.st_size, about.st_mtime_ns, about.st_ctime_ns, inode)
