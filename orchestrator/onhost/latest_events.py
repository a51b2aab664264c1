"""Reads the latest events of a run: those it wrote, or what its log says of progress and metrics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Sequence

from orchestrator.core import jsontext
from orchestrator.core.layout import RunPaths
from orchestrator.onhost import files

if TYPE_CHECKING:
    from orchestrator.onhost.progress_reader import Taken

_EVENTS_TAIL = 1024 * 1024
_MANY = 1000  # lines of events, of which most are then not parsed
_PROGRESS = re.compile(
    r'\{(?:"v": ?\d+, ?)?(?:"t": ?[\d.]+, ?)?"event": ?"progress"(?!.*"(?:split|best|rule)")'
)


class Events(NamedTuple):
    """Raw lines, in order: the latest event of each kind, and of `metrics` the latest of each split.

    `skipped`: the number of lines that are no events. `from_log`: the lines of the log that progress and
    metrics were read from, if the run itself wrote none.
    """

    lines: list[str]
    skipped: int
    from_log: Sequence[Taken] = ()


def of_run(paths: RunPaths, trainer: str | None) -> Events:
    """The latest events; of a program that writes no progress and no metrics, what its log says of them."""
    events = in_file(paths.events)
    kinds = {jsontext.parse_object(line)["event"] for line in events.lines}
    if trainer or kinds & {"progress", "metrics"}:
        return events
    from orchestrator.onhost import log_events  # noqa: PLC0415 - 30 ms that a run with events does not need

    read = log_events.latest(paths.log)
    return Events(events.lines + read.lines, events.skipped, read.taken)


def in_file(path: str) -> Events:
    """Reads only the last MiB of the file, so that this stays fast for a run of several days."""
    latest: dict[str, str] = {}
    skipped = 0
    lines = _without_repeated_progress(_last_lines(path))
    for number, line in enumerate(lines, 1):
        kind = _kind(line)
        if kind:
            latest.pop(kind, None)
            latest[kind] = line
        elif line.strip() and number < len(lines):  # the last one may be half written
            skipped += 1
    return Events(list(latest.values()), skipped)


def _without_repeated_progress(lines: list[str]) -> list[str]:
    """Of very many lines, only the last one of those that are plainly `progress`, which need no parsing."""
    if len(lines) < _MANY:
        return lines
    last = len(lines) - 1
    plain = [n for n, line in enumerate(lines) if n < last and _PROGRESS.match(line) and line.endswith("}")]
    left_out = set(plain[:-1])
    return [line for number, line in enumerate(lines) if number not in left_out]


def _last_lines(path: str) -> list[str]:
    """Returns the complete lines at the end of a file of events, and what is after the last newline."""
    lines = (content := files.last_bytes(path, _EVENTS_TAIL)).decode("utf-8", errors="replace").split("\n")
    return lines[1:] if len(content) == _EVENTS_TAIL and len(lines) > 1 else lines


def last_event(path: str) -> jsontext.Object:
    """Returns the last event of a run; empty if it wrote none."""
    return jsontext.read_object((in_file(path).lines or ["{}"])[-1])


def _kind(line: str) -> str | None:
    try:
        event = jsontext.parse_object(line)
    except jsontext.BadJson:
        return None
    detail = event.get("split") or event.get("best") or event.get("rule") or ""
    return "%s/%s" % (event["event"], detail) if isinstance(event.get("event"), str) else None
