"""Bytes in frames: a line with their number, then the bytes; `0` is a heartbeat, `-1` the end.

A reader can so tell a quiet command from a dead line, and an end from a cut.
"""

from __future__ import annotations

import threading
import time
from typing import BinaryIO

BEAT = 2.0  # seconds without a byte until a reader is told that all is well


class Writer:
    """Frames on `out`; its heartbeats come from a thread, whatever the caller is busy with."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._said = time.monotonic()
        threading.Thread(target=self._beats, daemon=True).start()

    def write(self, block: bytes) -> None:
        with self._lock:
            self._out.write(b"%d\n" % len(block) + block)
            self._out.flush()
            self._said = time.monotonic()

    def end(self, more: bytes = b"") -> None:
        """The last frame, and what follows it."""
        with self._lock:
            self._out.write(b"-1\n" + more)
            self._out.flush()
            self._said = float("inf")

    def _beats(self) -> None:
        while True:
            time.sleep(BEAT / 4)
            if time.monotonic() - self._said >= BEAT:
                try:
                    self.write(b"")
                except (OSError, ValueError):
                    return
