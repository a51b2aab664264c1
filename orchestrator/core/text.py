"""Text for a person: durations, sizes, and lines that fit a terminal. Pure."""

from __future__ import annotations

import re
import signal
import unicodedata
from collections.abc import Iterable

_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_PIECE = re.compile(r"\s*\S+")
_SIGNALS = {one.value: one.name for one in signal.Signals}
_HANG = 4  # columns
_COMMANDS = ("gpujob ", "next:", "ssh ")


def duration(seconds: float) -> str:
    """42 s, 3 min 20 s, 5 h 03 min, 2 d 04 h."""
    total = int(max(0.0, seconds))
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    if total < 86400:
        return f"{total // 3600} h {total % 3600 // 60:02d} min"
    return f"{total // 86400} d {total % 86400 // 3600:02d} h"


def size(count: float) -> str:
    """Bytes for a person: 512 B, 3.4 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def counted(number: int, noun: str) -> str:
    """1 file, 3,000 files."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def killed_by(number: int) -> str:
    """How a process ended that a signal killed: killed by signal 11 (SIGSEGV)."""
    hint = ", as by the kernel when memory is full" if number == signal.SIGKILL else ""
    return f"killed by signal {number} ({_SIGNALS.get(number, 'unknown')}{hint})"


def meaning(code: int) -> str:
    """What an exit code says of a signal, as a shell and Python write it; empty if nothing."""
    number = -code if code < 0 else code - 128
    return killed_by(number) if number in _SIGNALS else ""


def closest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that was probably meant; None if none is like it."""
    import difflib  # noqa: PLC0415 - late: only errors need it

    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def cells(text: str) -> int:
    """Columns of a terminal that a text takes: letters of East Asia take two, accents and colours none."""
    if text.isascii() and "\x1b" not in text:
        return len(text)
    visible = _COLOUR.sub("", text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in visible)
    return len(visible) + wide - sum(unicodedata.combining(letter) != 0 for letter in visible)


def flow(line: str, room: int | None) -> list[str]:
    """A line broken between words where it does not fit; what follows is indented by 4 more.

    A command to copy stays in one piece, and so does a word that is longer than `room`.
    """
    start = line.lstrip()
    if room is None or cells(line) <= room or start.startswith(_COMMANDS):
        return [line]
    indent = min(len(line) - len(start) + _HANG, room // 2)
    lines, current = [], ""
    for piece in _PIECE.findall(line):
        if current.strip() and cells(current + piece.rstrip()) > room:
            lines.append(current.rstrip())
            word = piece.lstrip()
            current = " " * max(0, min(indent, room - cells(word))) + word
        else:
            current += piece
    return [*lines, current.rstrip()]
