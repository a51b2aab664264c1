"""Command words. The only place that turns words into a line for a shell. Also runs on hosts: Python 3.8."""

from __future__ import annotations

import shlex
from typing import Iterable

MASK = "********"


class Secret(str):
    """A word that is passed on and never shown: `show` masks it, and so does `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


def join(words: Iterable[str]) -> str:
    """One line that a POSIX shell splits into exactly these words. A NUL has no place in argv: ValueError."""
    words = list(words)
    if any("\0" in word for word in words):
        raise ValueError("a command word holds a NUL byte")
    return " ".join(shlex.quote(str.__str__(word)) for word in words)


def show(words: Iterable[str]) -> str:
    """The same line for a person's eyes: secrets masked, control characters made visible."""
    return " ".join(_visible(MASK if isinstance(word, Secret) else word) for word in words)


def _visible(word: str) -> str:
    quoted = shlex.quote(word)
    if quoted.isprintable():
        return quoted
    escaped = word.encode("unicode_escape").decode("ascii").replace("'", "\\'")
    return "$'" + escaped + "'"
