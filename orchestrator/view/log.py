"""A log on its way to the user: raw bytes into a pipe, harmless text onto a terminal."""

from __future__ import annotations

import codecs

from orchestrator.context import Context
from orchestrator.view.console import harmless

_LONGEST_SEQUENCE = 64


class Writer:
    """Takes blocks as they come; a character or escape sequence cut by a block's end waits for its rest."""

    def __init__(self, ctx: Context) -> None:
        self._out = ctx.stdout
        self._raw = getattr(ctx.stdout, "buffer", None)
        self._terminal = ctx.stdout.isatty()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._waiting = ""
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
            text, self._waiting = self._waiting + self._decoder.decode(b"", final=True), ""
            self._out.write(harmless(text))
            self._out.flush()

    def _show(self, text: str) -> None:
        text = self._waiting + text
        cut = text.rfind("\x1b", max(0, len(text) - _LONGEST_SEQUENCE))
        unfinished = cut >= 0 and not any(c.isalpha() or c in "~\x07\\" for c in text[cut + 2 :])
        self._waiting = text[cut:] if unfinished else ""
        self._out.write(harmless(text[:cut] if unfinished else text))
        self._out.flush()
