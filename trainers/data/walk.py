"""Lists the files below a folder, as the orchestrator counts them. Standard library only."""

import os
from collections.abc import Iterator
from pathlib import Path

from trainers.data.refusal import read_or_stop


def files(folder: Path) -> Iterator[Path]:
    """Yield all files below `folder`, sorted by name; follows links to folders except cycles.

    Raises Unread if a folder cannot be listed.
    """
    return _below(folder, frozenset())


def _below(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    with read_or_stop(folder):
        about = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    here = (about.st_dev, about.st_ino)
    if here in above:
        return
    for entry in entries:
        is_folder = Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()  # a link may loop
        if is_folder:
            yield from _below(Path(entry.path), above | {here})
        else:
            yield Path(entry.path)
