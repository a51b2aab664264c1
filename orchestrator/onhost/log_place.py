"""Keeps the log of a running run at its path, although somebody renames or deletes it there.

Whoever has it open goes on writing to the file that lost the name, so readers would see nothing of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat

_BLOCK = 1 << 20
MOST = 64 << 20  # bytes that are copied at once while the run goes on


class LogPlace:
    """The place of the open log `descriptor` at `path`."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._open = "/proc/self/fd/%d" % descriptor  # a path of the log, whatever its name is
        self._copied: int | None = None  # how much of the log the file at `path` does not lack

    def restore(self, limit: int | None = None) -> None:
        """Puts the log back if another file, or none, is at its path; does nothing where that fails.

        A renamed log gets the name again. Of a deleted one a copy is continued at each call, by at most
        `limit` bytes. A file that somebody wrote in its place is kept: what the log grows by is appended.
        """
        with contextlib.suppress(OSError):
            place, own = _status(self._path), os.fstat(self._descriptor)
            if place and (os.path.samestat(place, own) or not stat.S_ISREG(place.st_mode)):
                return
            if self._copied is None and place and place.st_size:
                self._copied = own.st_size
            elif self._copied is None:
                if self._rename(place is not None):
                    return
                self._copied = 0
            self._copied += self._copy(self._copied, own.st_size - self._copied, limit)

    def _rename(self, is_taken: bool) -> bool:
        """Gives the log its name, also that of an empty file; returns False if it was deleted."""
        name = "%s.%d.tmp" % (self._path, os.getpid()) if is_taken else self._path
        try:
            # With a descriptor of a folder, which is not used, Python follows the link in /proc.
            os.link(self._open, name, src_dir_fd=self._descriptor)
            if is_taken:
                os.replace(name, self._path)
        except OSError:
            return False
        return True

    def _copy(self, offset: int, count: int, limit: int | None) -> int:
        """Appends up to `count` bytes of the log from `offset` on to the file at its path; returns how many.

        Half of the free space is left to the run.
        """
        room = shutil.disk_usage(os.path.dirname(self._path)).free // 2
        count, written = min(count, room, count if limit is None else limit), 0
        source = os.open(self._open, os.O_RDONLY)
        try:
            target = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)
            try:
                while written < count:
                    block = os.pread(source, min(_BLOCK, count - written), offset + written)
                    if not block:
                        break
                    written += os.write(target, block)
            except OSError:  # the disk is full: what was written counts
                pass
            finally:
                os.close(target)
        finally:
            os.close(source)
        return written


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
