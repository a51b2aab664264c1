"""Reads the events of a run for its curves: all that are new, or of very many a sample in bounded time."""

from __future__ import annotations

import os
from typing import BinaryIO, Iterator, TypedDict

from orchestrator.core.layout import Layout
from orchestrator.onhost import files

_PIECES = 128  # of the file, evenly spaced, that are read where it is too long
_BLOCK = 1 << 20
_METRICS = b'"metrics"'


class EventLines(TypedDict):
    """`text`: complete lines of JSON. `offset`: after the last one, in the file that they were read from."""

    text: str
    offset: int


def read(layout: Layout, run_id: str, offset: int, limit: int) -> EventLines:
    """Returns the events from `offset` on.

    Of more than `limit` bytes, `text` has about that many: the events of the kind `metrics`, which are few,
    as far as half of it holds them, and the other events from evenly spaced pieces of the file.
    """
    try:
        with files.open_regular(layout.run(run_id).events) as handle:
            end = os.fstat(handle.fileno()).st_size
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
