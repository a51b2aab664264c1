"""Progress and metrics from the log of a program that writes no events, in bounded time and memory."""

from __future__ import annotations

import functools
import json
import os
import re
from typing import BinaryIO, Iterable, Iterator, NamedTuple

from orchestrator.core.layout import Layout
from orchestrator.onhost import files
from orchestrator.onhost.event_file import EventLines
from orchestrator.onhost.progress_reader import Event, LogReader, Taken

_TAIL = 64 * 1024  # bytes at the end of a log that usually tell how far the training is
_LONG_TAIL = 512 * 1024  # bytes that are read if they do not
_MOST = 8 << 20  # bytes of which one read looks for lines; of more, evenly spaced pieces
_PIECES = 128
_BLOCK = 1 << 20
_KEPT = 1000  # lines of one kind that one read parses: every second, fourth, eighth … of more
_ENDS = re.compile(rb"[\r\n]+|\x08+")
_RETURNS = re.compile(r"\r+|\x08+")
_HEAD, _BEFORE = (
    8 * 1024,
    4 * 1024,
)  # bytes at the begin of a log, and before an offset, that say what lines mean
# Lines that are few, and that others need: headings, and values of a validation.
_RARE = re.compile(
    rb".*val|\W*(?:\{|\*|test|eval)|\W*(?:epoch|iter(?:ation)?|step|round|class)\b\D*$|\W*epoch\W{0,3}\d+(?:\s*/\s*\d+)?\W*$",
    re.IGNORECASE,
)
_LAST_LINES, _LAST_PARTS = 200, 4  # of a tail: its last lines, and the last states of each line


class LogProgress(NamedTuple):
    """Events, JSON as in events.jsonl, and the lines of the log that they were read from."""

    lines: list[str]
    taken: list[Taken]


def latest(path: str) -> LogProgress:
    """The latest progress, and the latest metrics of each split, that the end of a log tells."""
    content = files.last_bytes(path, _TAIL)
    begin = _begin(path) if len(content) == _TAIL else None
    reader, events = read_tail(content, begin)
    if len(content) == _TAIL and not reader.has_position:
        reader, events = read_tail(files.last_bytes(path, _LONG_TAIL), begin)
    try:
        changed = os.stat(path).st_mtime
    except OSError:
        changed = 0.0
    lines = [json.dumps({"v": 2, "t": changed, **event}) for event in events.values()]
    return LogProgress(lines, list(reader.taken.values()))


def read_tail(content: bytes, begin: LogReader | None = None) -> tuple[LogReader, dict[str, Event]]:
    """The reader, and the latest event of each kind; a value that is not repeated stays."""
    reader = begin.forget() if begin else LogReader()
    events: dict[str, Event] = {}
    for part in _last_parts(content.decode("utf-8", errors="replace")):
        for event in reader.feed(part):
            kind = "%s/%s" % (event["event"], event.get("split") or event.get("phase"))
            before = events.pop(kind, {})
            keep = ("loss", "lr", "grad_norm") if event["event"] == "progress" else ()
            event = {**{name: before[name] for name in keep if name in before}, **event}
            if event["event"] == "metrics":
                event["values"] = {**before.get("values", {}), **event["values"]}
            events[kind] = event
    if "progress/train" in events:
        events = {
            kind: event for kind, event in events.items() if kind[:8] != "progress" or kind[9:] == "train"
        }
    return reader, events


def _begin(path: str) -> LogReader | None:
    """The reader of the first lines, whose headings the lines far behind them still have."""
    try:
        with files.open_regular(path) as handle:
            return _read_head(handle.read(_HEAD))
    except OSError:
        return None


@functools.lru_cache(maxsize=32)
def _read_head(head: bytes) -> LogReader:
    reader = LogReader()
    for part in _ENDS.split(head):
        reader.feed(part.decode("utf-8", errors="replace"))
    return reader


def _reader_at(path: str, offset: int) -> LogReader:
    """A reader that knows what lines after an offset mean by those before them."""
    begin = _begin(path) if offset else None
    if begin is None:
        return LogReader()
    reader = begin.forget()
    try:
        with files.open_regular(path) as handle:
            handle.seek(max(0, offset - _BEFORE))
            before = handle.read(min(offset, _BEFORE))
    except OSError:
        return reader
    for part in _ENDS.split(before)[1 if offset > _BEFORE else 0 :]:
        reader.feed(part.decode("utf-8", errors="replace"))
    return reader


def _last_parts(text: str) -> list[str]:
    lines = [line for line in text.split("\n") if line][-_LAST_LINES:]
    return [part for line in lines for part in _RETURNS.split(line)[-_LAST_PARTS:]]


def read(layout: Layout, run_id: str, offset: int, limit: int) -> EventLines:
    """Returns events of the log from `offset` on.

    `limit`: bytes of `text`; of a log with more lines than fit, `text` has a sample of them.
    """
    return read_file(layout.run(run_id).log, offset, limit)


def read_file(path: str, offset: int, limit: int) -> EventLines:
    """As `read`, of a log anywhere."""
    try:
        with files.open_regular(path) as handle:
            offset = files.resumed(handle, offset)
            reader = _reader_at(path, offset)
            end = os.fstat(handle.fileno()).st_size
            sample = _Sample()
            for block, behind in _blocks(handle, min(offset, end), end):
                sample.add(block)
                offset = behind
    except OSError:  # missing or damaged, which the run's facts report
        return {"text": "", "offset": offset}
    lines, size = [], 0
    for part in sample.parts():
        for event in reader.feed(part.decode("utf-8", errors="replace")):
            line = json.dumps(event)
            size += len(line) + 1
            if size > limit:
                break
            lines.append(line + "\n")
    return {"text": "".join(lines), "offset": offset}


def parse(blocks: Iterable[bytes]) -> Iterator[str]:
    """Every event of a whole log as a JSON line; the log comes in blocks that end anywhere."""
    reader, rest = LogReader(), b""
    for block in blocks:
        *parts, rest = _ENDS.split(rest + block)
        yield from _lines_of(reader, parts)
        rest = rest if len(rest) < _BLOCK else b""
    yield from _lines_of(reader, [rest])


def _lines_of(reader: LogReader, parts: Iterable[bytes]) -> Iterator[str]:
    for part in filter(None, parts):
        for event in reader.feed(part.decode("utf-8", errors="replace")):
            yield json.dumps(event) + "\n"


class _Sample:
    """Parts of a log in order, of each kind at most `_KEPT`."""

    def __init__(self) -> None:
        self._number = 0
        self._kinds = {False: _Thinned(), True: _Thinned()}

    def add(self, block: bytes) -> None:
        for part in _ENDS.split(block):
            if part:
                self._number += 1
                self._kinds[bool(_RARE.match(part))].add(self._number, part)

    def parts(self) -> list[bytes]:
        kept = self._kinds[False].kept + self._kinds[True].kept
        return [part for _, part in sorted(kept)]


class _Thinned:
    def __init__(self) -> None:
        self.kept: list[tuple[int, bytes]] = []
        self._every = 1
        self._seen = 0

    def add(self, number: int, part: bytes) -> None:
        self._seen += 1
        if self._seen % self._every:
            return
        self.kept.append((number, part[:4096]))
        if len(self.kept) > 2 * _KEPT:
            self.kept, self._every = self.kept[1::2], self._every * 2


def _blocks(handle: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Blocks that end where a line or a part of one ends, each with the offset behind it."""
    if end - start > _MOST:
        size = _MOST // _PIECES
        for number in range(_PIECES - 1):
            at = start + (end - start - size) * number // (_PIECES - 1)
            handle.seek(at)
            yield _inner(handle.read(size)), at
        start = end - size
    handle.seek(start)
    rest = b""
    while handle.tell() < end:
        block = rest + handle.read(min(_BLOCK, end - handle.tell()))
        cut = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
        rest = block[cut:] if len(block) - cut < _BLOCK else b""
        yield block[:cut], handle.tell() - len(rest)


def _inner(block: bytes) -> bytes:
    """Without the first and the last part, which may be incomplete."""
    parts = _ENDS.split(block)
    return b"\n".join(parts[1:-1])
