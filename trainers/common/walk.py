"""The files below a folder, as the orchestrator counts them. Standard library only."""

import os
from collections.abc import Iterator
from pathlib import Path

from trainers.common.refusal import read_or_stop


def files(folder: Path) -> Iterator[Path]:
    """All that is no folder below `folder`, behind links to folders too; each folder is entered once.

    Raises Unread where a folder cannot be listed.
    """
    entered: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, onerror=_stop, followlinks=True):
        about = Path(place).stat()
        if (about.st_dev, about.st_ino) in entered:
            folders.clear()  # a link that leads back
            continue
        entered.add((about.st_dev, about.st_ino))
        folders.sort()
        yield from (Path(place, name) for name in names)


def _stop(fault: OSError) -> None:
    with read_or_stop(fault.filename):
        raise fault
