"""How a trainer ended, and what its exit codes mean (docs/contract.md)."""

from __future__ import annotations

import os
from typing import NamedTuple

from orchestrator.core.layout import RunPaths
from orchestrator.onhost import event_file

INTERRUPTED = 75  # exit code of a trainer that was stopped and wrote a checkpoint; may be resumed
FINAL = (0, 64, 65, 66, INTERRUPTED)  # exit codes after which there is no restart
NOT_FOUND = 127  # the exit code of a shell for a command that cannot be run


class Exit(NamedTuple):
    """How a trainer ended: by its exit code, or by a signal."""

    code: int | None
    signal: int | None

    def __str__(self) -> str:
        return "exit code %s" % self.code if self.code is not None else "signal %s" % self.signal


def from_status(paths: RunPaths, status: int) -> Exit:
    """Returns the exit of a wait status, with the code in the run's last event if a launcher replaced it."""
    if os.WIFSIGNALED(status):
        return Exit(None, os.WTERMSIG(status))
    code = os.WEXITSTATUS(status)
    if code not in FINAL:
        event = event_file.last_event(paths.events)
        reported = event.integer("code") if event.text("event") == "end" else None
        code = reported if reported in FINAL[1:] else code
    return Exit(code, None)


def is_done(paths: RunPaths) -> bool:
    """Returns whether the run's last event reports that the training was completed."""
    event = event_file.last_event(paths.events)
    return (event.text("event"), event.text("status")) == ("end", "done")
