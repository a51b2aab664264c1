"""Measures the delay of a client's output, from a log whose lines contain their time."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterable
from typing import IO

STAMP = 'b"\\n@%d@\\n" % time.time_ns()'
"""The Python of such a line, as bytes."""
_STAMP = re.compile(rb"\n@(\d{19})@\n")


class Shown:
    """sha256 and size of the output shown so far; `lines` has, for each timestamped line, when it was
    written and when it was shown, in epoch seconds."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.digest, self.size = hashlib.sha256(), 0
        self.lines: list[tuple[float, float]] = []
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        rest = b""
        while block := os.read(self._stream.fileno(), 1 << 20):
            now = time.time()
            self.digest.update(block)
            self.size += len(block)
            rest += block
            self.lines += [(int(stamp) / 1e9, now) for stamp in _STAMP.findall(rest)]
            rest = rest[-22:]  # a complete timestamp is one byte longer

    def all(self) -> Shown:
        """Wait for the end of the client and return all lines."""
        self._thread.join()
        return self

    def late(self, spans: Iterable[tuple[float, float]] = ((0.0, float("inf")),)) -> list[float]:
        """Seconds, sorted, of the lines written within one of the spans."""
        spans = list(spans)
        return sorted(
            shown - at for at, shown in self.lines if any(begin <= at < end for begin, end in spans)
        )
