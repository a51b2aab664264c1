"""The file `log.index` of a run: how long its log was when, and where each attempt begins.

A line is `[seconds since 1970, bytes of the log, attempt]`. At most one is written every 15 seconds, and one
where an attempt begins, so a week has 1.5 MB of them.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Iterator, NamedTuple

from orchestrator.core.layout import RunPaths
from orchestrator.onhost import files
from orchestrator.onhost.errors import Refused

INTERVAL = 15.0  # seconds between two marks
_LONGEST = 64 << 20  # bytes of the file that are read


class Mark(NamedTuple):
    seconds: float
    offset: int
    attempt: int


class Writer:
    """Appends marks. On a full disk some are missing, which makes `--since` less exact and nothing else."""

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths
        self._last = Mark(0.0, -1, 0)

    def add(self, now: float, attempt: int) -> None:
        """Notes the present size of the log, unless it is the same or was noted a moment ago."""
        mark = Mark(now, files.size(self._paths.log), attempt)
        begins = attempt != self._last.attempt
        elapsed = abs(now - self._last.seconds)  # the clock may be set back
        is_due = mark.offset != self._last.offset and elapsed >= INTERVAL
        if not (begins or is_due):
            return
        self._last = mark
        with contextlib.suppress(OSError):
            files.append(self._paths.log_index, json.dumps(list(mark)).encode() + b"\n")


def load(paths: RunPaths) -> list[Mark]:
    """Returns the marks in order; lines that are none are skipped. Empty for a run of an earlier version."""
    with contextlib.suppress(OSError), files.open_regular(paths.log_index) as handle:
        return list(_parsed(handle.read(_LONGEST)))
    return []


def _parsed(content: bytes) -> Iterator[Mark]:
    for line in content.splitlines():
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            seconds, offset, attempt = json.loads(line)
            yield Mark(float(seconds), int(offset), int(attempt))


def find_attempt(paths: RunPaths, attempt: int) -> tuple[int, int | None]:
    """Returns where an attempt's part of the log begins and ends; None while no other has begun.

    Refused if the run has no such attempt, or recorded none.
    """
    begins: dict[int, int] = {}
    for mark in load(paths):
        begins.setdefault(mark.attempt, mark.offset)
    if not begins:
        raise Refused("no-index", "this run was started by an older version, which recorded no attempts")
    if attempt not in begins:
        raise Refused("no-attempt", "the run has no attempt %d; the last is %d" % (attempt, max(begins)))
    later = [offset for number, offset in begins.items() if number > attempt]
    return (0 if attempt == 1 else begins[attempt]), (min(later) if later else None)


def find_since(paths: RunPaths, since: float) -> int:
    """Returns an offset before which every byte was written before `since`, at most 15 seconds before.

    Refused if the run recorded no times.
    """
    marks = load(paths)
    if not marks:
        raise Refused("no-index", "this run was started by an older version, which recorded no times")
    with contextlib.suppress(OSError):
        if os.stat(paths.log).st_mtime < since:
            return files.size(paths.log)
    return max((mark.offset for mark in marks if mark.seconds <= since), default=0)
