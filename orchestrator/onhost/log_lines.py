"""Sends a part of a run's log: the last lines, lines that match a pattern, one attempt, or from a time on.

A frame's payload is a sequence of pages: a line `OFFSET BYTES`, then that many bytes. OFFSET is where the
next page continues in the file, so that a client whose connection broke repeats and loses nothing.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import time
from typing import BinaryIO, Callable, Iterator, NamedTuple

from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import files, frames, log_index, run_processes
from orchestrator.onhost.errors import Refused

_BLOCK = 1 << 16  # bytes of a page; a client whose connection breaks within one reads it again
_LONGEST = 1 << 16  # bytes of a line that are matched as one; longer ones are taken in pieces
_END = re.compile(rb"\r\n|\n|\r")
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_MATCH_SECONDS = 10.0  # CPU seconds for the lines of one block
_READABLE = ("log", "events.jsonl")
MOST_LINES = 100_000  # of `tail`


class Query(NamedTuple):
    """`grep`: a regular expression, empty for all lines. `tail`: the last lines only, -1 for all. `since`:
    seconds since 1970. `attempt`: 0 for all. `follow`: until the run ends, instead of until the present end.
    """

    grep: str = ""
    tail: int = -1
    since: float = 0.0
    attempt: int = 0
    follow: bool = True

    @classmethod
    def from_word(cls, word: str) -> Query:
        """Of an argument of the helper: JSON in URL-safe base64 without padding, which no shell changes."""
        return cls(**json.loads(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))))


class Line(NamedTuple):
    start: int
    text: bytes
    end: bytes


Chooses = Callable[[Line], bool]


def send(layout: Layout, run_id: str, name: str, offset: int, query: Query, out: BinaryIO) -> None:
    """Writes the chosen part of the file to `out`, in frames; a negative offset begins it.

    A refusal is the last page: its offset is -1, its content JSON. Returns, or raises OSError, once the
    client has disconnected.
    """
    writer = frames.Writer(out)
    try:
        _send(layout, run_id, _path(layout, run_id, name), offset, query, writer)
    except Refused as error:
        writer.write(_page(-1, json.dumps({"kind": error.kind, "message": str(error)}).encode()))
    if not writer.is_closed:
        writer.end()


def _send(layout: Layout, run_id: str, path: str, offset: int, query: Query, writer: frames.Writer) -> None:
    paths, chooses = layout.run(run_id), _chooser(query)
    follows = query.follow and not run_processes.has_ended(layout, run_id)
    if offset < 0:
        offset, content = _begin(paths, path, query, chooses, follows)
        if offset:
            writer.write(_page(offset, content))
    pattern = chooses if query.grep else None
    now = None if query.follow else files.size(path)
    while not writer.is_closed:
        is_last = not query.follow or run_processes.has_ended(layout, run_id)  # checked before reading
        end = log_index.find_attempt(paths, query.attempt)[1] if query.attempt else None
        is_last = is_last or end is not None
        for after, content in _forward(path, offset, now if end is None else end, pattern, is_last):
            writer.write(_page(after, content))
            offset = after
        if is_last:
            return
        time.sleep(0.03)


def _path(layout: Layout, run_id: str, name: str) -> str:
    """Returns the path of a file of a run; Refused for one that clients may not follow."""
    if name not in _READABLE:
        raise Refused("name", "only %s can be read" % " and ".join(_READABLE))
    return os.path.join(layout.run(run_id).folder, name)


def _page(offset: int, content: bytes) -> bytes:
    return b"%d %d\n%b" % (offset, len(content), content)


def _chooser(query: Query) -> Chooses:
    """Which lines are chosen. Without a pattern: those that no return overwrites."""
    if not query.grep:
        return lambda line: line.end != b"\r"
    try:
        pattern = re.compile(query.grep)
    except re.error as error:
        raise Refused("pattern", "--grep is not a regular expression: %s" % error) from None
    return lambda line: bool(pattern.search(_ESCAPE.sub("", line.text.decode("utf-8", errors="replace"))))


def _begin(paths: RunPaths, path: str, query: Query, chooses: Chooses, follows: bool) -> tuple[int, bytes]:
    """Returns where the reading continues, and what is sent before that."""
    begin, end = log_index.find_attempt(paths, query.attempt) if query.attempt else (0, None)
    size = files.size(path)
    if query.since:
        since = log_index.find_since(paths, query.since)
        begin = max(begin, _line_start(path, since) if since < size else size)
    end = size if end is None else min(end, size)
    if query.tail < 0 or begin >= end:
        return begin, b""
    if query.grep and follows:  # a line that is half written is matched once it is complete
        end = max(begin, _line_start(path, end))
    kept: list[Line] = []
    with _opened(path) as handle, _TimeLimit():
        for line in _backward(handle, begin, end):
            if len(kept) >= min(query.tail, MOST_LINES):
                break
            if chooses(line):
                kept.append(line)
    return end, b"".join(map(_shown, reversed(kept)))


def _shown(line: Line) -> bytes:
    return line.text + (b"\n" if line.end else b"")


def _line_start(path: str, offset: int) -> int:
    """Returns where the line begins that an offset is in."""
    with _opened(path) as handle:
        start = max(0, offset - _LONGEST)
        handle.seek(start)
        before = handle.read(offset - start)
    return start + before.rfind(b"\n") + 1 if b"\n" in before else start


def _forward(
    path: str, offset: int, end: int | None, chooses: Chooses | None, is_complete: bool
) -> Iterator[tuple[int, bytes]]:
    """Yields (offset after it, content) for each block from `offset` to `end`, of chosen lines or as it is.

    `is_complete`: no more will be written, so that the last line counts without its end. A file that was cut
    to less than `offset` is read from its begin.
    """
    with _opened(path) as handle:
        offset = files.resumed(handle, offset)
        handle.seek(offset)
        while True:
            block = handle.read(_BLOCK if end is None else max(0, min(_BLOCK, end - offset)))
            at_end = len(block) < _BLOCK
            if chooses is None:
                cut, content = len(block), block
            else:
                cut = len(block) if at_end and is_complete else _last_end(block)
                with _TimeLimit():
                    lines = [line for line in _lines(block[:cut], offset) if line.text and chooses(line)]
                content = b"".join(map(_shown, lines))
            offset += cut
            if cut:
                yield offset, content
                handle.seek(offset)
            if at_end or not cut:
                return


def _opened(path: str) -> BinaryIO:
    """The file; an empty one where it is missing or damaged, which the facts of the run report."""
    try:
        return files.open_regular(path)
    except OSError:
        return io.BytesIO()


def _last_end(block: bytes) -> int:
    """Returns the length of the complete lines in a block; a full block without one is complete."""
    cut = max(block.rfind(b"\n"), block.rfind(b"\r", 0, len(block) - 1)) + 1
    return len(block) if not cut and len(block) >= _LONGEST else cut


def _lines(block: bytes, offset: int) -> Iterator[Line]:
    start = 0
    for match in _END.finditer(block):
        yield Line(offset + start, block[start : match.start()], match.group())
        start = match.end()
    if start < len(block):
        yield Line(offset + start, block[start:], b"")


def _backward(handle: BinaryIO, begin: int, end: int) -> Iterator[Line]:
    """Yields the lines between two offsets, the last one first."""
    position, rest = end, b""
    while position > begin:
        size = min(_BLOCK, position - begin)
        position -= size
        handle.seek(position)
        block = handle.read(size) + rest
        first = _END.search(block) if position > begin else None
        cut = first.end() if first else 0
        if position > begin and not first and len(block) < _LONGEST:
            rest = block
            continue
        yield from reversed(list(_lines(block[cut:], position + cut)))
        rest = block[:cut]


class _TimeLimit:
    """Within it, matching may take 10 CPU seconds: a pattern may need exponential time for one line."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGVTALRM, _refuse)
        signal.setitimer(signal.ITIMER_VIRTUAL, _MATCH_SECONDS)

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, self._before)


def _refuse(*_: object) -> None:
    raise Refused("pattern", "--grep takes too long for a line of this log")
