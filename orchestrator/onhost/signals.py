"""Receives the supervisor's signals and reaps children. Blocked signals stay pending: none is missed."""

from __future__ import annotations

import contextlib
import os
import signal

AWAITED = {signal.SIGCHLD, signal.SIGTERM}
_TERMINAL = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP)
_PR_SET_CHILD_SUBREAPER = 36


def prepare(adopts: bool = True) -> None:
    """Ignores the signals of keys typed into the tmux pane, and blocks the signals that `wait` receives.

    `adopts`: processes whose parent died become children of this one.
    """
    for number in _TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes  # noqa: PLC0415 - a Python that was built without libffi has none

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopts), 0, 0, 0)


def wait(seconds: float) -> int | None:
    """Returns the number of the next signal in `AWAITED`; None if none arrives within `seconds`."""
    info = signal.sigtimedwait(AWAITED, seconds)
    return info.si_signo if info else None


def restore() -> None:
    """Restores the default signal handling in a child process, before it executes the command.

    SIGHUP stays ignored, as with nohup: the run has no terminal, and systemd, when it shuts a machine down,
    sends it right after the SIGTERM at which a training saves its checkpoint.
    """
    for number in _TERMINAL:
        if number != signal.SIGHUP:
            signal.signal(number, signal.SIG_DFL)
    unblock()


def unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def reap() -> dict[int, int]:
    """Reaps all children that have ended; returns their wait statuses by pid."""
    statuses: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return statuses
        if pid == 0:
            return statuses
        statuses[pid] = status
