"""A stream of frames: a line with the number of bytes, then the bytes; `0` is a heartbeat, `-1` the end.

So a reader can tell a silent command from a dead connection, and the end from an interruption.
"""

from __future__ import annotations

import threading
import time
from typing import BinaryIO

HEARTBEAT = 2.0  # seconds without a byte after which a heartbeat is sent


class Writer:
    """Frames on `out`; a thread sends the heartbeats, whatever the caller does."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._last_write = time.monotonic()
        threading.Thread(target=self._send_heartbeats, daemon=True).start()

    def write(self, block: bytes) -> None:
        with self._lock:
            self._out.write(b"%d\n" % len(block) + block)
            self._out.flush()
            self._last_write = time.monotonic()

    def end(self, trailer: bytes = b"") -> None:
        """The last frame, and what follows it."""
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
                    return
