"""Colours and widths of a stream, tables, and the plain texts that several screens share."""

from __future__ import annotations

import io
import itertools
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import TextIO

from orchestrator.context import Context
from orchestrator.core.text import cells
from orchestrator.core.text import harmless as harmless

INDENT = "  "  # of the rows of a table
_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
}


def colours(env: Mapping[str, str], stream: TextIO) -> bool:
    """NO_COLOR, then FORCE_COLOR, then TERM=dumb, then whether it is a terminal."""
    if env.get("NO_COLOR"):
        return False
    if env.get("FORCE_COLOR"):
        return True
    return env.get("TERM") != "dumb" and stream.isatty()


class Paint:
    """`paint("text", "green")`: coloured where the stream takes it, else the text."""

    def __init__(self, env: Mapping[str, str], stream: TextIO) -> None:
        self._on = colours(env, stream)

    def __call__(self, text: str, *styles: str) -> str:
        if not self._on or not styles:
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"


def width(env: Mapping[str, str], stream: TextIO) -> int:
    """Columns of the terminal; 100 where there is none."""
    if env.get("COLUMNS", "").isdigit():
        return int(env["COLUMNS"])
    return shutil.get_terminal_size((100, 24)).columns if stream.isatty() else 100


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned, indented lines; the last column is not padded."""
    if not rows:
        return []
    wide = [max(cells(row[i]) for row in rows) for i in range(len(rows[0]))]
    padded = [[c + " " * (w - cells(c)) for c, w in zip(row, wide, strict=True)] for row in rows]
    return [INDENT + "  ".join(row).rstrip() for row in padded]


def condense(values: Sequence[float], cells: int) -> list[float]:
    """At most `cells` values for all of them: the mean of each piece, and what is not finite as it is."""
    if len(values) <= cells:
        return list(values)
    edges = [len(values) * cell // cells for cell in range(cells + 1)]
    return [_mean(values[start:end]) for start, end in itertools.pairwise(edges)]


def stretch(values: Sequence[float], cells: int) -> list[float]:
    """As many values as `cells`: means of them, or each of them several times."""
    if not values or len(values) > cells:
        return condense(values, cells)
    return [values[cell * len(values) // cells] for cell in range(cells)]


def _mean(values: Sequence[float]) -> float:
    odd = next((value for value in values if not math.isfinite(value)), None)
    return odd if odd is not None else sum(value / len(values) for value in values)


def sparkline(values: list[float], cells: int = 32) -> str:
    """The last `cells` values from their least to their most, `×` where one is not finite; or `no data`."""
    if not values:
        return "no data"
    shown = [value / 2 for value in values[-cells:]]  # halves: the span of any two floats is a float
    finite = [value for value in shown if math.isfinite(value)]
    low = min(finite, default=0.0)
    span = (max(finite, default=0.0) - low) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[int((v - low) / span * 7)] if math.isfinite(v) else "×" for v in shown)


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
    for line in table_lines(ctx, rows, styles):
        ctx.out(line)


def table_lines(ctx: Context, rows: Sequence[Sequence[str]], styles: Mapping[str, str] = _PLAIN) -> list[str]:
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
    before, separator, after = f"{line}  ".partition(f"  {word}  ")
    return f"{before}  {painted}  {after}".rstrip(" ") if separator else line


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
