"""Signals and ended children of the supervisor: it waits for them, so that none is missed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

OURS = {signal.SIGCHLD, signal.SIGTERM}
_KEYS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP)
_PR_SET_CHILD_SUBREAPER = 36


def settle() -> None:
    """Keys typed into the pane do nothing; SIGTERM and SIGCHLD are waited for, so none is missed."""
    for key in _KEYS:
        signal.signal(key, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, OURS)
    # Grandchildren whose parent died come to us, so that they are reaped.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def as_before() -> None:
    """In a child of ours, before it becomes the trainer."""
    for key in _KEYS:
        signal.signal(key, signal.SIG_DFL)
    unblock()


def unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def reap(wanted: int) -> int | None:
    """Reaps all that ended; the status of `wanted` if it is among them. The view is reaped too."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == wanted:
            found = status
