"""Command words: the only place that turns words into a line for a shell, and a script into words.

Also runs on hosts: Python 3.8.
"""

from __future__ import annotations

import shlex
from typing import Iterable

LONGEST_SCRIPT = 100_000  # bytes; Linux takes at most 128 KiB in one word of a command
_REPORT = (
    "gpujob_code=$? gpujob_line=$LINENO; "
    'printf "gpujob: %s, line %%d: exit code %%d: %%s\\n" "$((gpujob_line - 1))" "$gpujob_code" '
    '"$(printf %%s "$BASH_EXECUTION_STRING" | sed -n "${gpujob_line}p")" >&2'
)


def join(words: Iterable[str]) -> str:
    """One line that a POSIX shell splits into exactly these words. A NUL has no place in argv: ValueError."""
    words = list(words)
    if any("\0" in word for word in words):
        raise ValueError("a command word holds a NUL byte")
    return " ".join(shlex.quote(word) for word in words)


def login(folder: str) -> list[str]:
    """The user's own login shell in a folder."""
    return ["/bin/sh", "-c", f'cd {shlex.quote(folder)} && exec "${{SHELL:-sh}}" -l']


def show(words: Iterable[str]) -> str:
    """The same line for a person's eyes: control characters made visible."""
    return " ".join(_visible(word) for word in words)


def _visible(word: str) -> str:
    quoted = shlex.quote(word)
    if quoted.isprintable():
        return quoted
    escaped = word.encode("unicode_escape").decode("ascii").replace("'", "\\'")
    return "$'" + escaped + "'"


def script_words(text: str, key: str) -> list[str]:
    """bash with the script: it ends at the first command that fails, also within a pipe.

    It prints the line and the exit code of that command; `key` names the script in this message.
    """
    report = _REPORT % key
    return ["bash", "-c", f"set -Eeo pipefail; trap '{report}' ERR\n{text}", "gpujob"]


def script_in(words: list[str]) -> str | None:
    """The script in such words; None for any other command."""
    head, newline, script = (
        words[2].partition("\n") if len(words) == 4 and words[3] == "gpujob" else ("",) * 3
    )
    return script if newline and head.startswith("set -Eeo pipefail; trap ") else None


def show_command(words: list[str]) -> str:
    """What a person wrote in the job file: a script without what `script_words` adds, or a command."""
    own = script_in(words)
    return show(words) if own is None else own.strip()
