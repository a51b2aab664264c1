"""Colours and widths of a stream, and the plain texts that several screens share."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Mapping, Sequence
from typing import TextIO

from orchestrator.core.terminal import harmless as harmless
from orchestrator.core.text import cells

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
