"""What a host's shell does before a command: its start-up files may be slow, read input, print, or end it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.core import shell
from orchestrator.errors import GpujobError
from orchestrator.process import Done
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
