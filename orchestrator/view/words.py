"""Words on a screen that wraps them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text


class Words(msgspec.Struct, frozen=True):
    """Words that stay whole where the line is wide enough for each of them."""

    words: Sequence[Text]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = Text()
        for word in self.words:
            if line and line.cell_len + 2 + word.cell_len > options.max_width:
                yield line
                line = Text()
            line.append("  " if line else "").append_text(word)
        yield line
