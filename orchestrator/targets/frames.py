"""The follower's frames (orchestrator/onhost/files.py): a length line, then that many bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from orchestrator.errors import Unreachable


def read(stream: IO[bytes]) -> Iterator[bytes]:
    """Payloads; empty ones are heartbeats. A stream that breaks off before its end is Unreachable."""
    while True:
        head = stream.readline()
        if not head.endswith(b"\n"):
            raise Unreachable("the host stopped sending", "the stream broke off before its end")
        size = int(head)
        if size < 0:
            return
        payload = stream.read(size)
        if len(payload) < size:
            raise Unreachable("the host stopped sending", "the stream broke off within a frame")
        yield payload
