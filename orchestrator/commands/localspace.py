"""The space for downloads on this machine: checked before, and named when it runs out."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from orchestrator.core.text import size
from orchestrator.errors import GpujobError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LARGEST = 3  # number of files that an error names
_NEXT = "free space there, or --to DIR on a larger disk"


def free(folder: Path) -> int:
    """Returns the free bytes of the file system that `folder` is on, or will be."""
    return shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.is_dir())).free


def require(folder: Path, files: list[tuple[str, int]]) -> None:
    """GpujobError where the folder has no room for files of these sizes."""
    needed, available = sum(count for _, count in files), free(folder)
    if needed > available:
        raise too_little(folder, needed, available, files)


def too_little(folder: Path, needed: int, available: int, files: list[tuple[str, int]]) -> GpujobError:
    """The error that names the folder, what is needed, what is free, and the largest files."""
    largest = sorted(files, key=lambda file: -file[1])[:_LARGEST]
    names = ", ".join(f"{path} ({size(count)})" for path, count in largest)
    why = f"{size(needed)} are needed, {size(available)} are free; the largest: {names}"
    return GpujobError(f"{folder} has too little free space", why, _NEXT)


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """GpujobError naming the folder and its free space, if a write in the block fails for lack of space."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        is_full = error.errno == errno.ENOSPC
        what = f"the disk of {folder} is full" if is_full else f"your disk quota for {folder} is used up"
        during = f" while {error.filename} was written" if error.filename else ""
        raise GpujobError(what, f"{size(free(folder))} are free{during}", _NEXT) from None
