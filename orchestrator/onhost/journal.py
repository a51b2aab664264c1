"""The log and the events of a run, as its supervisor writes to them beside the run itself."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time

from orchestrator.core.layout import RunPaths
from orchestrator.onhost import files, log_index, log_place, signals


class Journal:
    """`log`: the open file that the run's stdout and stderr are."""

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths
        self.log = os.open(paths.log, files.APPEND, 0o600)
        self._index = log_index.Writer(paths)
        self._place = log_place.LogPlace(paths.log, self.log)

    def mark(self, attempt: int) -> None:
        """Notes how long the log is now, for readers of one attempt or of a time; keeps it at its path."""
        self._place.restore(log_place.MOST)
        self._index.add(time.time(), attempt)

    def say(self, message: str) -> None:
        """Appends a line to the log, unless that cannot be done, as on a full disk."""
        with contextlib.suppress(OSError):
            os.write(self.log, _line(message))

    def warn(self, message: str) -> None:
        """Appends a warning to the run's events, unless that cannot be done."""
        with contextlib.suppress(OSError):
            files.append(self._paths.events, _warning(message))

    def show(self) -> subprocess.Popen[bytes] | None:
        """Starts a `tail` of the log for attached terminals; it ends with this process, receives no keys.

        None if it cannot be started, as where the user's processes are limited.
        """
        words = ["tail", "-n", "2000", "--pid=%d" % os.getpid(), "-F", self._paths.log]
        with contextlib.suppress(OSError):
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, preexec_fn=signals.unblock)
        return None

    def complete(self) -> int:
        """Writes the log to disk, and puts it back at its path; returns its size there."""
        with contextlib.suppress(OSError):
            os.fsync(self.log)
        self._place.restore()
        return files.size(self._paths.log)


def note(paths: RunPaths, message: str) -> None:
    """Appends a message to log and events of a run that has no supervisor, unless that cannot be done."""
    for path, content in ((paths.log, _line(message)), (paths.events, _warning(message))):
        with contextlib.suppress(OSError):
            files.append(path, content)


def _line(message: str) -> bytes:
    return ("gpujob: %s\n" % message).encode("utf-8", errors="replace")


def _warning(message: str) -> bytes:
    event = {"v": 1, "t": time.time(), "event": "warning", "message": message}
    return json.dumps(event).encode() + b"\n"
