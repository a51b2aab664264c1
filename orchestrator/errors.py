"""The errors of commands: what failed, why, the next command to type, and the exit code."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of `gpujob`; scripts and agents may rely on them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    ACCESS = 4
    UNREACHABLE = 5
    JOB_FAILED = 6
    WANTS_YES = 7
    INTERRUPTED = 130


class GpujobError(Exception):
    """An error a person can act on. Shown as three lines, or as JSON."""

    exit_code = Exit.FAILED

    def __init__(self, what: str, why: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.next_step = next_step


class UsageError(GpujobError):
    """Wrong arguments, an invalid job file, or a missing data folder."""

    exit_code = Exit.USAGE


class NotFound(GpujobError):
    """No such run, host or checkpoint."""

    exit_code = Exit.NOT_FOUND


class AccessError(GpujobError):
    """Credentials were not accepted, or the host key is not the recorded one."""

    exit_code = Exit.ACCESS


class Unreachable(GpujobError):
    """The host, or the helper on it, did not answer. The state of its runs is unknown."""

    exit_code = Exit.UNREACHABLE


class NoGpus(GpujobError):
    """An instance does not have the GPUs of its type."""


class JobFailed(GpujobError):
    """gpujob did its part; the run itself failed."""

    exit_code = Exit.JOB_FAILED


class WantsYes(GpujobError):
    """The command costs money or deletes data, there is no terminal to ask on, and no `--yes`."""

    exit_code = Exit.WANTS_YES
