"""What is half written when its making fails. Standard library only."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def swept(path: Path) -> Iterator[None]:
    """Removes a file or a folder where what writes it raises."""
    try:
        yield
    except BaseException:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        raise
