"""sha256 of parts while they arrive: at the end of the line nothing is left to be read again."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

_BLOCK = 1 << 20
_LOOK = 0.02  # seconds between two looks at a part that grows


@contextlib.contextmanager
def hashed(folder: Path, sizes: Mapping[str, int]) -> Iterator[dict[str, str]]:
    """Within it, parts of these names and sizes are received; after it, the digests of those that are whole.

    A part that was written anew behind the reading has a digest that is none of its own: one that differs
    from what was promised says nothing before the file was read again.
    """
    found: dict[str, str] = {}
    over = threading.Event()
    reader = threading.Thread(target=_read, args=(folder, sizes, over, found), daemon=True)
    reader.start()
    try:
        yield found
    finally:
        over.set()
        reader.join()


def _read(folder: Path, sizes: Mapping[str, int], over: threading.Event, found: dict[str, str]) -> None:
    for name in sorted(sizes):  # the order in which rsync sends them
        with contextlib.suppress(OSError):
            digest = _followed(folder / name, sizes[name], over)
            if digest:
                found[name] = digest


def _followed(path: Path, size: int, over: threading.Event) -> str | None:
    while not path.exists():
        if over.is_set():
            return None
        over.wait(_LOOK)
    digest, have = hashlib.sha256(), 0
    with path.open("rb") as part:
        while have < size:
            ended = over.is_set()  # asked before reading: what was written until then is read below
            block = part.read(min(_BLOCK, size - have))
            if not block and ended:
                return None
            if not block:
                over.wait(_LOOK)
            digest.update(block)
            have += len(block)
    return digest.hexdigest()
