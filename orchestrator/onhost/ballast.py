"""Room that a run keeps on the disk for its last words: who stopped it and how it ended, full disk or not.

A file that gives up half of what is left of it at each need: a run that goes on may take what was freed.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from orchestrator.core.layout import RunPaths
from orchestrator.onhost import jsonfile

FULL = (errno.ENOSPC, errno.EDQUOT)
_BYTES = 1 << 18
_LEAST = 1 << 12
FOR_THE_END = 1 << 16  # bytes that are not for a fetch from a going run


def lay(paths: RunPaths) -> None:
    """Whole, at each start. Random bytes: zeros would take no room where the file system compresses."""
    with open(paths.ballast, "wb") as handle:
        handle.write(os.urandom(_BYTES))


def give(paths: RunPaths, keep: int = 0) -> bool:
    """Frees half of what is left, unless less than `keep` bytes would stay; whether it did."""
    try:
        size = os.path.getsize(paths.ballast)
        if size // 2 < keep:
            return False
        if size > _LEAST:
            os.truncate(paths.ballast, size // 2)
        else:
            os.unlink(paths.ballast)
    except OSError:
        return False
    return True


def replace(paths: RunPaths, path: str, value: dict[str, Any]) -> None:
    """As jsonfile.replace; where the disk is full, in the room that the ballast gives up."""
    while True:
        try:
            return jsonfile.replace(path, value)
        except OSError as error:
            if error.errno not in FULL or not give(paths):
                raise
