"""What a host's shell does before a command: its start-up files may be slow, read input, print, or end it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core import shell
from orchestrator.targets.helper_host import StartFailure

SHELL = "shell"
"""What a command prints after the mark as soon as its own shell runs: the start-up files have ended."""
_FILES = "start-up files of its shell (~/.bashrc, ~/.profile)"
FOR_TERMINALS = "case $- in *i*) ;; *) return;; esac"
"""The first line of a start-up file that is for terminals only."""


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
        return self._faulty(
            f"the {_FILES}, or its login shell, ended before that, or redirect stdout: {reason[:200]}"
        )

    def prints_too_much(self) -> StartFailure:
        return self._faulty(f"the {_FILES} print text without end")

    def _faulty(self, why: str) -> StartFailure:
        next_step = f"{self._ssh}, and there as the first line of ~/.bashrc: {FOR_TERMINALS}"
        return StartFailure(f"{self._label} did not run a command", why, next_step)
