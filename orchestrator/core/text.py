"""Text for a person: durations, sizes, lines that fit a terminal. And the one filter between what a job, a
host, a checkpoint or a cloud wrote and a terminal; linear. Pure.
"""

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


_COLOUR_SEQUENCE = r"\x1b\[[0-9;:]{0,60}m"
_CSI = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*"
_STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f]*"  # a title, the clipboard, …
_SEQUENCE = rf"{_CSI}[@-~]|{_STRING}(?:\x1b\\|[\x07\x9c])|\x1b[ -/]*[0-OQ-WYZ\\`a-~]"
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
_INVISIBLE = (
    r"[\u00ad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    r"\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_FILTERED = re.compile(rf"(?P<colour>{_COLOUR_SEQUENCE})|{_SEQUENCE}|{_CONTROL}|{_INVISIBLE}")
_UNFINISHED = re.compile(rf"(?:{_CSI}|{_STRING}\x1b?|\x1b[ -/]*)\Z")
_LONGEST_SEQUENCE = 4096
_RESET = "\x1b[0m"


def harmless(text: str) -> str:
    """Text without control sequences and characters other than colours, tabs, returns and line ends.

    What changes the order of letters or is invisible (bidirectional controls, tags) is removed too.
    """
    return _FILTERED.sub(lambda match: match["colour"] or "", text)


def plain(text: str) -> str:
    """As `harmless`, without colours and returns: for text that is placed and coloured by others."""
    return _FILTERED.sub("", text).replace("\r", "")


def message(text: str) -> str:
    """Text for lines of our own: as `harmless`, no return overwrites a line, and colours end with it."""
    shown = harmless(text).replace("\r", "")
    return shown + _RESET if "\x1b" in shown and not shown.endswith(_RESET) else shown


class Filter:
    """`harmless` for text that comes in pieces: a sequence cut by the end of a piece waits for its rest."""

    def __init__(self) -> None:
        self._waiting = ""

    def feed(self, piece: str) -> str:
        text = self._waiting + piece
        unfinished = _UNFINISHED.search(text, max(0, len(text) - _LONGEST_SEQUENCE))
        cut = unfinished.start() if unfinished else len(text)
        self._waiting = text[cut:]
        return harmless(text[:cut])

    def end(self) -> str:
        rest, self._waiting = self._waiting, ""
        return harmless(rest)
