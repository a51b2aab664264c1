"""Files that appear under their name when all of their content is there. Standard library only."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def temporary(path: Path) -> Path:
    """A hidden name in the same folder, for what becomes `path` once it is complete."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write instead of `path`, which it replaces where nothing was raised."""
    file = temporary(path)
    try:
        yield file
        file.replace(path)
    finally:
        file.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file by one with this text."""
    with replacing(path) as file:
        file.write_text(text)
