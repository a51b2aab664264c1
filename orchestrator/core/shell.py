"""Command words. The only place that turns words into a line for a shell. Also runs on hosts: Python 3.8."""

from __future__ import annotations

import shlex
from typing import Iterable


def join(words: Iterable[str]) -> str:
    """One line that a POSIX shell splits into exactly these words. A NUL has no place in argv: ValueError."""
    words = list(words)
    if any("\0" in word for word in words):
        raise ValueError("a command word holds a NUL byte")
    return " ".join(shlex.quote(word) for word in words)


def login(folder: str) -> list[str]:
    """The user's own login shell in a folder."""
    return ["sh", "-c", f'cd {shlex.quote(folder)} && exec "${{SHELL:-sh}}" -l']


def show(words: Iterable[str]) -> str:
    """The same line for a person's eyes: control characters made visible."""
    return " ".join(_visible(word) for word in words)


def _visible(word: str) -> str:
    quoted = shlex.quote(word)
    if quoted.isprintable():
        return quoted
    escaped = word.encode("unicode_escape").decode("ascii").replace("'", "\\'")
    return "$'" + escaped + "'"
