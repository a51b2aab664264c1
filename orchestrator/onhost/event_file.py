"""Reads the events that a run wrote: the latest of each kind, or those for its curves."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, BinaryIO, Iterator, NamedTuple, Sequence, TypedDict

from orchestrator.core import jsontext
from orchestrator.core.layout import Layout
from orchestrator.onhost import files

if TYPE_CHECKING:
    from orchestrator.onhost.progress_reader import Taken

_EVENTS_TAIL = 1024 * 1024
_PIECES = 128  # of the file, evenly spaced, that are read where it is too long
_BLOCK = 1 << 20
_METRICS = b'"metrics"'
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


def latest(path: str) -> Events:
    """Reads only the last MiB of the file, so that this stays fast for a run of several days."""
    by_kind: dict[str, str] = {}
    skipped = 0
    lines = _without_repeated_progress(_last_lines(path))
    for number, line in enumerate(lines, 1):
        kind = _kind(line)
        if kind:
            by_kind.pop(kind, None)
            by_kind[kind] = line
        elif line.strip() and number < len(lines):  # the last one may be half written
            skipped += 1
    return Events(list(by_kind.values()), skipped)


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
    return jsontext.read_object((latest(path).lines or ["{}"])[-1])


def _kind(line: str) -> str | None:
    try:
        event = jsontext.parse_object(line)
    except jsontext.BadJson:
        return None
    detail = event.get("split") or event.get("best") or event.get("rule") or ""
    return "%s/%s" % (event["event"], detail) if isinstance(event.get("event"), str) else None


class EventLines(TypedDict):
    """`text`: complete lines of JSON. `offset`: after the last one, in the file that they were read from."""

    text: str
    offset: int


def read(layout: Layout, run_id: str, offset: int, limit: int) -> EventLines:
    """Returns the events from `offset` on, of a file that was cut since those from its begin.

    Of more than `limit` bytes, `text` has about that many: the events of the kind `metrics`, which are few,
    as far as half of it holds them, and the other events from evenly spaced pieces of the file.
    """
    try:
        with files.open_regular(layout.run(run_id).events) as handle:
            end = os.fstat(handle.fileno()).st_size
            offset = files.resumed(handle, offset)
            if end - offset > limit:
                return _sample(handle, offset, end, limit)
            handle.seek(offset)
            lines = _complete(handle.read(limit))
    except OSError:  # missing or damaged, which the run's facts report
        lines = b""
    return {"text": lines.decode("utf-8", errors="replace"), "offset": offset + len(lines)}


def _sample(handle: BinaryIO, offset: int, end: int, limit: int) -> EventLines:
    lines = _metrics(handle, offset, end, limit // 2)
    size = limit // 2 // _PIECES
    for number in range(_PIECES):
        start = offset + (end - size - offset) * number // (_PIECES - 1)
        handle.seek(start)
        piece = _complete(handle.read(size))
        inside = piece if start == offset else piece[piece.find(b"\n") + 1 :]
        lines += [line for line in inside.splitlines(keepends=True) if _METRICS not in line]
    last = start + len(piece) if piece else end
    return {"text": b"".join(lines).decode("utf-8", errors="replace"), "offset": last}


def _metrics(handle: BinaryIO, offset: int, end: int, limit: int) -> list[bytes]:
    """Returns the lines with metrics; of more than `limit` bytes every second, fourth, eighth one …"""
    kept: list[bytes] = []
    size, every = 0, 1
    for number, line in enumerate(_lines_with(handle, offset, end, _METRICS)):
        if number % every:
            continue
        kept.append(line)
        size += len(line)
        if size > limit:
            kept, every = kept[::2], every * 2
            size = sum(map(len, kept))
    return kept


def _lines_with(handle: BinaryIO, offset: int, end: int, word: bytes) -> Iterator[bytes]:
    """Yields the complete lines that contain a word; one that is longer than 1 MiB is skipped."""
    handle.seek(offset)
    rest = b""
    while (left := end - handle.tell()) > 0:
        block = rest + handle.read(min(_BLOCK, left))
        complete = _complete(block)
        rest = block[len(complete) :] if len(block) - len(complete) <= _BLOCK else b""
        at = complete.find(word)
        while at >= 0:
            start, stop = complete.rfind(b"\n", 0, at) + 1, complete.index(b"\n", at) + 1
            yield complete[start:stop]
            at = complete.find(word, stop)


def _complete(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]
