"""Disk space that a run reserves for its last writes: who stopped it and how it ended, full disk or not.

A file of random bytes that shrinks to half whenever space is needed: a run that goes on writing may take
what was freed.
"""

from __future__ import annotations

import errno
import os
from typing import Mapping

from orchestrator.core.layout import RunPaths
from orchestrator.onhost import files

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
FOR_THE_END = 1 << 16  # bytes that a fetch from a running run must leave
_BYTES = 1 << 18
_SMALLEST = 1 << 12


def create(paths: RunPaths) -> None:
    """At full size, at each start. Random, since a file system that compresses stores zeros in no space."""
    with open(paths.reserved, "wb") as handle:
        handle.write(os.urandom(_BYTES))


def release(paths: RunPaths, keep: int = 0) -> bool:
    """Frees half of what is left, unless less than `keep` bytes would remain; whether it did."""
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
    """As files.write_json; on a full disk, in the space that this file gives up."""
    while True:
        try:
            return files.write_json(path, value)
        except OSError as error:
            if error.errno not in DISK_FULL or not release(paths):
                raise
