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
        self._temporary = "%s.%d.tmp" % (path, os.getpid())
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
                if not self._rename(place is not None):
                    self._copied = self._begin_copy(own.st_size, limit)
                return
            self._copied += self._copy(self._path, self._copied, own.st_size - self._copied, limit)

    def _rename(self, is_taken: bool) -> bool:
        """Gives the log its name, also that of an empty file; returns False if it was deleted."""
        name = self._temporary if is_taken else self._path
        try:
            # With a descriptor of a folder, which is not used, Python follows the link in /proc.
            os.link(self._open, name, src_dir_fd=self._descriptor)
            if is_taken:
                os.replace(name, self._path)
        except OSError:
            return False
        return True

    def _begin_copy(self, size: int, limit: int | None) -> int:
        """Puts a copy of the log at its path; returns its size.

        It appears at once: to a reader that goes on at an offset, a shorter file would be another one.
        """
        copied = self._copy(self._temporary, 0, size, limit)
        os.replace(self._temporary, self._path)
        return copied

    def _copy(self, path: str, offset: int, count: int, limit: int | None) -> int:
        """Appends up to `count` bytes of the log from `offset` on to a file; returns how many.

        Half of the free space is left to the run.
        """
        room = shutil.disk_usage(os.path.dirname(self._path)).free // 2
        count, written = min(count, room, count if limit is None else limit), 0
        source = os.open(self._open, os.O_RDONLY)
        try:
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)
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
