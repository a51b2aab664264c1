"""A pseudo-terminal that keeps what programs write to it."""

from __future__ import annotations

import contextlib
import os
import pty
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def recorded() -> Iterator[tuple[int, list[bytes]]]:
    """Yield the terminal's descriptor and what it received, which is complete after the block."""
    ours, theirs = pty.openpty()
    received: list[bytes] = []

    def read() -> None:
        try:
            while block := os.read(ours, 1 << 16):
                received.append(block)
        except OSError:  # how a terminal ends
            return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield theirs, received
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)
