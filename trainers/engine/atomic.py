"""Atomic file writes: a file gets its name only when it is complete. Standard library only."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def temporary(path: Path) -> Path:
    """A unique hidden path in the same folder, to write to before renaming to `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; it replaces `path` if the block raises no exception."""
    file = temporary(path)
    try:
        yield file
        file.replace(path)
    finally:
        file.unlink(missing_ok=True)


def replace_folder(folder: Path, complete: Path) -> None:
    """Rename the folder `complete` to `folder`. What stood there is deleted after that, not before."""
    former = temporary(folder)
    if folder.exists():
        folder.rename(former)
    complete.rename(folder)
    shutil.rmtree(former, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write the text to `path` atomically."""
    with replacing(path) as file:
        file.write_text(text)
