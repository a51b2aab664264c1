"""Which part of a run's log a host is to send (orchestrator/onhost/log_lines.py). Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import msgspec

_HEAD = re.compile(rb"(-?[0-9]{1,18}) ([0-9]{1,18})\n")
_LONGEST_HEAD = 40


class LogQuery(msgspec.Struct, frozen=True):
    """`grep`: a regular expression, empty for all lines. `tail`: the last lines only, -1 for all. `since`:
    seconds since 1970, 0 for all. `attempt`: 0 for all. `follow`: until the run ends, instead of until the
    present end."""

    grep: str = ""
    tail: int = -1
    since: float = 0.0
    attempt: int = 0
    follow: bool = True

    def to_word(self) -> str:
        """An argument of the helper, which no shell changes."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


EVERYTHING = LogQuery()


class BadPage(ValueError):
    """The host sent something else than pages."""


class Pages:
    """Collects the pages of a stream: `OFFSET BYTES`, then that many bytes. A part of a page is kept back."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        """Yields (where the next page continues, content) for each page that is complete. Raises BadPage."""
        self._buffer += block
        while self._buffer:
            head = _HEAD.match(self._buffer)
            if not head:
                if len(self._buffer) > _LONGEST_HEAD or b"\n" in self._buffer:
                    raise BadPage(repr(bytes(self._buffer[:_LONGEST_HEAD]))[1:])
                return
            after, end = int(head[1]), head.end() + int(head[2])
            if len(self._buffer) < end:
                return
            content = bytes(self._buffer[head.end() : end])
            del self._buffer[:end]
            yield after, content
