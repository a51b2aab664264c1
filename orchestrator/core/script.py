"""A text block of the job file → the words that run it as a shell script. Also runs on hosts: Python 3.8."""

from __future__ import annotations

from orchestrator.core import shell

LONGEST = 100_000  # bytes; Linux takes at most 128 KiB in one word of a command
_REPORT = (
    "gpujob_code=$? gpujob_line=$LINENO; "
    'printf "gpujob: %s, line %%d: exit code %%d: %%s\\n" "$((gpujob_line - 1))" "$gpujob_code" '
    '"$(printf %%s "$BASH_EXECUTION_STRING" | sed -n "${gpujob_line}p")" >&2'
)


def words(text: str, key: str) -> list[str]:
    """bash with the script: it ends at the first command that fails, also within a pipe.

    It prints the line and the exit code of that command; `key` names the script in this message.
    """
    report = _REPORT % key
    return ["bash", "-c", f"set -Eeo pipefail; trap '{report}' ERR\n{text}", "gpujob"]


def text(words: list[str]) -> str | None:
    """The script in such words; None for any other command."""
    head, newline, script = (
        words[2].partition("\n") if len(words) == 4 and words[3] == "gpujob" else ("",) * 3
    )
    return script if newline and head.startswith("set -Eeo pipefail; trap ") else None


def shown(words: list[str]) -> str:
    """What a person wrote in the job file: the script without what `words` puts around it, or the command."""
    own = text(words)
    return shell.show(words) if own is None else own.strip()
