"""The start of the helper on a host: the lines of shell that send and start it, and the errors of the shell.

The start-up files of the host's shell may be slow, read input, print, or end it before the command runs.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Sequence

from orchestrator.core import shell
from orchestrator.errors import GpujobError
from orchestrator.onhost.interpreters import ANNOUNCE, NEWER, OPTIONS
from orchestrator.process import Done
from orchestrator.targets import helper_host
from orchestrator.targets.helper_host import StartFailure

SHELL = "shell"
"""What a command prints after the mark as soon as its own shell runs: the start-up files have ended."""
_FILES = "start-up files of its shell (~/.bashrc, ~/.profile)"
FOR_TERMINALS = (
    "as the first line of ~/.bashrc or ~/.zshenv there: case $- in *i*) ;; *) return;; esac; "
    "of ~/.tcshrc: if (! $?prompt) exit; of config.fish: status is-interactive; or exit"
)
"""How a start-up file is made one that is for terminals only."""
NOT_RUN = (1, 126, 127)  # exit codes of a shim or a Python without its library, and of the shell for both
NOT_UNPACKED = 92  # exit code of the line that unpacks the helper
_UNPACKING = re.compile(r"\b(?:mkdir|tar|gzip|mv)\b")
_WORD = re.compile(r"[A-Za-z0-9._-]+\Z")
_ROOT = 'r="${GPUJOB_ROOT:-$HOME/.gpujob}"; '
# Two backslashes: where the host shows the line instead of running it, as `echo` does, no mark appears.
_PRINT = r'printf "\\036gpujob %s %s\n" '
_REACHED = rf'printf "\\036gpujob {SHELL}\n"; '
_IS_FOUND = 'command -v "$y" >/dev/null'
_RUNS = '"$y" -I -c "" </dev/null >/dev/null 2>&1'


def command(mode: str, *words: str, try_pythons: bool = False) -> str:
    """Returns the line that starts the helper with the first Python; one that is too old finds another.

    `try_pythons`: with the first that runs. What is called python3 may be a shim of a version manager, or
    miss a library; to try it takes as long as its start.

    It prints `shell` at once, and then `ready ROOT`, `missing ROOT` (no helper is there), `python` (no
    Python) or `old VERSION PATH`.
    """
    for word in (mode, *words):
        if not _WORD.match(word):
            raise ValueError(f"not a plain word: {word!r}")
    options, rest = " ".join(OPTIONS), " ".join(words)
    return (
        f'exec /bin/sh -c \'{_REACHED}{_ROOT}p="$r/onhost/{helper_host.digest()}"; '
        f'{_choose(try_pythons)}case "$y" in -) {_PRINT} python ""; exit 91;; esac; '
        f'[ -f "$p/__main__.py" ] || {{ {_PRINT} missing "$r"; exit 90; }}; '
        f'exec "$y" {options} "$p" {ANNOUNCE} {mode} "$r" {rest}\''
    )


def _choose(try_pythons: bool) -> str:
    """Returns the lines that set `y` to a Python, or to `-` if there is none."""
    test = _RUNS if try_pythons else _IS_FOUND
    return f"for y in python3 {' '.join(NEWER)} -; do {test} && break; done; "


def execute(run_id: str, encoded: str, try_pythons: bool = False) -> str:
    """Returns the line that runs a command of the user (onhost/visit.py); stdin and stdout are the command's.

    The helper has to be on the host.
    """
    for word in (run_id, encoded):
        if not _WORD.match(word):
            raise ValueError(f"not a plain word: {word!r}")
    options = " ".join(OPTIONS)
    return (
        f'exec /bin/sh -c \'{_ROOT}p="$r/onhost/{helper_host.digest()}"; '
        f'{_choose(try_pythons)}exec "$y" {options} "$p" exec "$r" {run_id} {encoded}\''
    )


def receive_bundle() -> str:
    """Returns the line that unpacks a gzipped tar on stdin into the helper's folder and prints `ready ROOT`.

    The folder appears only once it is complete. A partial folder is removed when the transfer is interrupted,
    or by the next transfer if the machine died. A folder without `__main__.py` is replaced: Python makes one
    for its cache if a volume is mounted over the root while a helper runs.
    """
    name = helper_host.digest()
    return (
        f'exec /bin/sh -c \'{_ROOT}p="$r/onhost/{name}"; d="$r/onhost/.{name}.$$"; '
        f'for o in "$r"/onhost/.[0-9a-f]*.[0-9]*; do kill -0 "${{o##*.}}" 2>/dev/null || rm -rf "$o"; done; '
        f'umask 077; mkdir -p "$d" && (cd "$d" && tar -xzf -) && '
        f'{{ mv -T "$d" "$p" 2>/dev/null || [ -f "$p/__main__.py" ] || '
        f'{{ mv -T "$p" "$d.0" && mv -T "$d" "$p"; }}; }} && rm -rf "$d" "$d.0" && {_PRINT} ready "$r" || '
        f'{{ rm -rf "$d" "$d.0"; exit {NOT_UNPACKED}; }}\''
    )


def bundle_archive() -> bytes:
    """Returns the files of the helper as a gzipped tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in helper_host.files().items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


class PythonFailure(StartFailure):
    """The Python of the host that was chosen did not run."""


class Startup:
    """The errors of a host `label` whose shell does not come to the command; `ssh` logs in to it."""

    def __init__(self, label: str, ssh: Sequence[str]) -> None:
        self._label = label
        self._ssh = shell.join(ssh)

    def note(self, after: float, patience: float) -> str:
        return (
            f"waiting for {self._label}: the {_FILES} take more than {after:.0f} s (at most {patience:.0f} s)"
        )

    def is_slow(self, patience: float) -> StartFailure:
        return StartFailure(
            f"{self._label} did not start the helper within {patience:.0f} s",
            f"it accepted the login; the {_FILES} did not end",
            f"{self._ssh} true (to wait longer: ConnectTimeout in ssh_config)",
        )

    def reads_input(self) -> StartFailure:
        """The error where the host sent nothing until stdin was closed."""
        why = f"the {_FILES} read from stdin, start another shell, or redirect stdout"
        return self._faulty(why)

    def ended(self, reason: str) -> StartFailure:
        """The error where the shell ended before the command ran; `reason`: what it wrote last."""
        others = "its login shell, or a command that the host runs instead (authorized_keys, ForceCommand)"
        return self._faulty(f"{reason[:200]} - the {_FILES}, {others} ended before that, or redirect stdout")

    def prints_too_much(self) -> StartFailure:
        return self._faulty(f"the {_FILES} print text without end")

    def no_python(self, done: Done) -> PythonFailure:
        """Its shell ran, and what it calls python3 did not."""
        what = f"no Python of {self._label} runs"
        return PythonFailure(what, done.reason, f"{self._ssh} python3 --version")

    def not_unpacked(self, done: Done) -> GpujobError | None:
        """The helper was sent, and not written: the disk is full or read-only, or tar is missing."""
        if done.code != NOT_UNPACKED:
            return None
        lines = (line for line in done.err.splitlines() if _UNPACKING.search(line))
        why = next(lines, done.reason)
        next_step = f"{self._ssh} df -h .; GPUJOB_ROOT there may name another folder"
        if "not found" in why:
            next_step = (
                f"{self._ssh} env: install it, or correct the PATH that a start-up file (~/.bashrc) sets"
            )
        return GpujobError(f"{self._label} cannot store the helper", why, next_step)

    def _faulty(self, why: str) -> StartFailure:
        next_step = f"{self._ssh} true, which shows it; if a start-up file does it, {FOR_TERMINALS}"
        return StartFailure(f"{self._label} did not run a command", why, next_step)
