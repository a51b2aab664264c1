"""Reserves disk space for the last writes of a run, so that its end is recorded even on a full disk.

The reserve is a file of random bytes. It is halved, not deleted, each time space is needed, because a run
that still writes may use up what was freed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Callable, Mapping

from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import files

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
FOR_THE_END = 1 << 16  # bytes of the reserve that a fetch from a running run may not release
_BYTES = 1 << 18
_SMALLEST = 1 << 12


def create(layout: Layout, paths: RunPaths) -> None:
    """Writes the reserve at its full size, at each start.

    Its bytes are random, since a compressing file system would store zeros in no space. On a disk that takes
    no more files, its end makes room for one: the others that a fetch needs are made here.
    """
    with contextlib.suppress(OSError):
        os.makedirs(paths.stage, mode=0o700, exist_ok=True)
        if not os.path.lexists(layout.transfer):
            os.close(os.open(layout.transfer, os.O_WRONLY | os.O_CREAT, 0o600))
            os.utime(layout.transfer, (0, 0))  # no transfer yet
    with contextlib.suppress(OSError):
        os.unlink(paths.reserved)  # whose space the new one may need
    files.write(paths.reserved, os.urandom(_BYTES))


def release(paths: RunPaths, keep: int = 0) -> bool:
    """Frees half of the reserve, unless fewer than `keep` bytes would remain; returns whether it did."""
    return _release(paths.reserved, keep) or _release(paths.reserved_v1, keep)


def _release(path: str, keep: int) -> bool:
    try:
        size = os.path.getsize(path)
        if size // 2 < keep:
            return False
        if size > _SMALLEST:
            os.truncate(path, size // 2)
        else:
            os.unlink(path)
    except OSError:
        return False
    return True


def write_json(paths: RunPaths, path: str, value: Mapping[str, object]) -> None:
    """Writes a JSON file; on a full disk, releases reserved space until it fits. Else raises OSError."""
    while True:
        try:
            return files.write_json(path, value)
        except OSError as error:
            if error.errno not in DISK_FULL or not release(paths):
                raise


def write_end(paths: RunPaths, state: Mapping[str, object], pause: Callable[[], object]) -> None:
    """Writes the last state.json, retrying for ever: a run without a recorded end would be reported as lost.

    A folder in its place is renamed. Returns without it once the run's folder was removed.
    """
    while True:
        try:
            return write_json(paths, paths.state, state)
        except OSError:
            if not os.path.lexists(paths.folder) and os.path.isdir(os.path.dirname(paths.folder)):
                return None
            if os.path.isdir(paths.state):
                with contextlib.suppress(OSError):
                    os.rename(paths.state, "%s.%d.folder" % (paths.state, os.getpid()))
                    continue
        pause()
