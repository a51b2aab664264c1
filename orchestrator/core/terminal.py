"""The one filter between what a job, a host, a checkpoint or a cloud wrote and a terminal. Pure; linear."""

from __future__ import annotations

import re

_COLOUR = r"\x1b\[[0-9;:]{0,60}m"
_CSI = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*"
_STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f]*"  # a title, the clipboard, …
_SEQUENCE = rf"{_CSI}[@-~]|{_STRING}(?:\x1b\\|[\x07\x9c])|\x1b[ -/]*[0-OQ-WYZ\\`a-~]"
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
_INVISIBLE = (
    r"[\u00ad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    r"\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_FILTERED = re.compile(rf"(?P<colour>{_COLOUR})|{_SEQUENCE}|{_CONTROL}|{_INVISIBLE}")
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
