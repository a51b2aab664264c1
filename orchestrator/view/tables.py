"""Rows as aligned columns; on a terminal that is too narrow, Rich wraps them between words, but
not between a number and its unit.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

from orchestrator.context import Context
from orchestrator.core.text import cells
from orchestrator.view.console import INDENT, Paint, colours, columns

_GAP = 2
_SHORT = 12  # columns: below that, wrapping saves little
_TIE = "\ue000"  # stands for a space at which no line is broken
_TIED = re.compile(
    r"(?<=\d) (?=(?:%|s|min|h|d|B|[KMGT]iB)(?:\W|$))"
    r"|(?<=\d min) (?=\d\d s)|(?<=\d h) (?=\d\d min)|(?<=\d d) (?=\d\d h)"
)
_PLAIN: Mapping[str, str] = {}


def print_table(ctx: Context, rows: Sequence[Sequence[str]], styles: Mapping[str, str] = _PLAIN) -> None:
    """`styles`: the colour of each cell that is one of these words."""
    for line in lines(ctx, rows, styles):
        ctx.out(line)


def lines(ctx: Context, rows: Sequence[Sequence[str]], styles: Mapping[str, str] = _PLAIN) -> list[str]:
    """The lines of `print_table`. Into a pipe each row is one line, however long."""
    most = max((len(row) for row in rows), default=0)
    rows = [[*row, *[""] * (most - len(row))] for row in rows]
    aligned = columns(rows)
    room = ctx.columns(ctx.stdout)
    if room is not None and any(cells(line) > room for line in aligned):
        return _wrapped(ctx, rows, styles, room)
    paint = Paint(ctx.env, ctx.stdout)
    for word, style in styles.items():
        aligned = [_painted(line, word, paint(word, style)) for line in aligned]
    return aligned


def _painted(line: str, word: str, painted: str) -> str:
    """The first cell that is this word, which is not the first of its row."""
    before, found, after = f"{line}  ".partition(f"  {word}  ")
    return f"{before}  {painted}  {after}".rstrip(" ") if found else line


def _wrapped(ctx: Context, rows: Sequence[Sequence[str]], styles: Mapping[str, str], room: int) -> list[str]:
    from rich.console import Console  # noqa: PLC0415 - only a table that does not fit pays for Rich
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    room = max(room - len(INDENT), 10)
    rows = [[_TIED.sub(_TIE, cell) for cell in row] for row in rows]
    widths = _widths(rows, room)
    coloured = colours(ctx.env, ctx.stdout)
    console = Console(
        file=io.StringIO(),
        width=room,
        force_terminal=coloured,
        color_system="standard" if coloured else None,
    )
    texts = [[Text(cell, styles.get(cell, "")) for cell in row] for row in rows]
    with console.capture() as captured:
        if widths:
            table = Table.grid(padding=(0, _GAP, 0, 0))
            for width in widths:
                table.add_column(width=width, overflow="fold")
            for cells_of_row in texts:
                table.add_row(*cells_of_row)
            console.print(table)
        else:  # not even the longest words fit beside each other
            for first, *others in texts:
                console.print(first)
                console.print(Padding(Text("  ").join(text for text in others if text), (0, 0, 0, 4)))
    return [f"{INDENT}{line}".replace(_TIE, " ").rstrip() for line in captured.get().splitlines()]


def _widths(rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Columns of each cell: the widest are narrowed, none below its longest word. None if that fails.

    A short column keeps its width.
    """
    table = list(zip(*rows, strict=True))
    widths = [max(cells(cell) for cell in column) for column in table]
    least = [max((cells(w) for cell in column for w in cell.split()), default=0) for column in table]
    room -= _GAP * (len(widths) - 1)
    while sum(widths) > room:
        can_shrink = [i for i, width in enumerate(widths) if width > max(least[i], _SHORT)]
        if not can_shrink:
            return None
        widths[max(can_shrink, key=lambda i: widths[i])] -= 1
    return widths
