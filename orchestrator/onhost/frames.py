"""Writes frames: a line with the number of bytes, then the bytes; `0` is a heartbeat, `-1` the end.

This lets a reader distinguish a silent command from a dead connection, and the end from an interruption.
"""

from __future__ import annotations

import threading
import time
from typing import BinaryIO

HEARTBEAT = 2.0  # seconds without a byte after which a heartbeat is sent


class Writer:
    """Writes frames to `out`; a thread sends a heartbeat whenever nothing was written for 2 seconds."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._last_write = time.monotonic()
        self.is_closed = False  # whether the reader is gone
        threading.Thread(target=self._send_heartbeats, daemon=True).start()

    def write(self, block: bytes) -> None:
        with self._lock:
            self._out.write(b"%d\n" % len(block) + block)
            self._out.flush()
            self._last_write = time.monotonic()

    def end(self, trailer: bytes = b"") -> None:
        """Writes the last frame, and `trailer` after it."""
        with self._lock:
            self._out.write(b"-1\n" + trailer)
            self._out.flush()
            self._last_write = float("inf")

    def _send_heartbeats(self) -> None:
        while True:
            time.sleep(HEARTBEAT / 4)
            if time.monotonic() - self._last_write >= HEARTBEAT:
                try:
                    self.write(b"")
                except (OSError, ValueError):
                    self.is_closed = True
                    return
