"""A log on its way to the user: raw bytes into a pipe, harmless text onto a terminal."""

from __future__ import annotations

import codecs
from typing import TextIO

from orchestrator.core.text import Filter


class Writer:
    """Takes blocks as they come; a character or escape sequence cut by a block's end waits for its rest."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._raw = getattr(out, "buffer", None)
        self._terminal = out.isatty()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._filter = Filter()
        self.bytes = 0

    def write(self, block: bytes) -> None:
        if not block:
            return
        self.bytes += len(block)
        if self._terminal or self._raw is None:
            self._show(self._decoder.decode(block))
        else:
            self._raw.write(block)
            self._raw.flush()

    def close(self) -> None:
        if self._terminal or self._raw is None:
            self._show(self._decoder.decode(b"", final=True))
            self._out.write(self._filter.end())
            self._out.flush()

    def _show(self, text: str) -> None:
        self._out.write(self._filter.feed(text))
        self._out.flush()
