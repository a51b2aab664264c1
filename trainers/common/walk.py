"""The files below a folder, as the orchestrator counts them. Standard library only."""

import os
from collections.abc import Iterator
from pathlib import Path


def files(folder: Path) -> Iterator[Path]:
    """All that is no folder below `folder`, behind links to folders too; each folder is entered once."""
    entered: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        about = Path(place).stat()
        if (about.st_dev, about.st_ino) in entered:
            folders.clear()  # a link that leads back
            continue
        entered.add((about.st_dev, about.st_ino))
        folders.sort()
        yield from (Path(place, name) for name in names)
