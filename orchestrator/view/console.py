"""Colours and widths of a stream, and the plain texts that several screens share."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from typing import TextIO

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
}
_CONTROL = re.compile(
    r"\x1b\[[0-9;]*m"  # colour: kept
    r"|\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x1b\\|\x07)|[@-Z\\-_]|[ -/]+[0-~])"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f\x80-\x9f]|\x1b",
    re.DOTALL,
)


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


def harmless(text: str) -> str:
    """Text of a host for a terminal: control sequences other than colour are taken out."""
    return _CONTROL.sub(lambda m: m.group() if m.group().endswith("m") and "[" in m.group() else "", text)


def columns(rows: list[list[str]], indent: str = "  ") -> list[str]:
    """Rows as aligned lines; the last column is not padded."""
    if not rows:
        return []
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [indent + "  ".join(c.ljust(w) for c, w in zip(row, wide, strict=True)).rstrip() for row in rows]


def duration(seconds: float) -> str:
    """42 s, 3 min 20 s, 5 h 03 min, 2 d 04 h."""
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def size(count: float) -> str:
    """Bytes for a person: 512 B, 3.4 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def sparkline(values: list[float], cells: int = 32) -> str:
    """The last `cells` values from their least to their most; `no data` where there is none."""
    if not values:
        return "no data"
    shown = values[-cells:]
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[int((value - low) / span * 7)] for value in shown)
