"""The overview of live runs in the terminal's alternate screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.context import Context
from orchestrator.core.text import plain
from orchestrator.view.overview import LiveRun, Notices, table

_NUMBERS = ("progress", "loss", "left", "GPU", "$/h")
_FEET = (" · ↑ ↓ Enter or a number opens · Ctrl-C ends", " · Enter opens · Ctrl-C ends", " · Ctrl-C ends")


class Picture:
    is_terminal = True

    def __init__(self, ctx: Context, coloured: bool, console: Console | None = None) -> None:
        self._console = console or Console(file=ctx.stdout, no_color=not coloured)
        self._live = Live(console=self._console, auto_refresh=False, screen=True)
        self.page: Group = Group()

    def start(self) -> None:
        self._live.start()

    def stop(self) -> None:
        self._live.stop()

    def show(self, live: Sequence[LiveRun], notices: Notices, chosen: int) -> None:
        width, height = self._console.size
        lost = [Text(plain(line), "yellow", no_wrap=True) for line in notices.values()]
        room = max(1, height - 3 - len(lost))
        first = max(0, min(chosen - room + 1, len(live) - room))
        lines = table(live, width)
        grid = Table.grid(padding=(0, 2, 0, 0))
        for head in lines[0]:
            grid.add_column(no_wrap=True, justify="right" if head in _NUMBERS else "left")
        grid.add_row(*lines[0], style="dim")
        for number, row in enumerate(lines[1:]):
            if first <= number < first + room:
                grid.add_row(
                    *(Text(plain(cell)) for cell in row), style="reverse" if number == chosen else ""
                )
        hidden = len(live) - room
        count = f"{len(live)} live runs" + (f", {hidden} not shown" if hidden > 0 else "")
        feet = [foot for foot in _FEET if len(count + foot) <= width]
        foot = Text(count + (feet[0] if feet else ""), "dim", no_wrap=True, overflow="ellipsis")
        used = 1 + min(room, len(live)) + len(lost)
        blank = [Text("")] * max(0, height - used - 1)
        self.page = Group(grid, *lost, *blank, foot)
        self._live.update(self.page, refresh=True)
