"""Reads the log and the events of a run from an offset, and follows them until the run has ended."""

from __future__ import annotations

import contextlib
import os
import time
from typing import BinaryIO, Iterator

from orchestrator.core.layout import Layout
from orchestrator.onhost import elsewhere, files, frames, processes, run_processes
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import RunSpec, State

READABLE = ("log", "events.jsonl")
_BLOCK = 1 << 18
_START_TIMEOUT = 60.0  # seconds; a run folder without state.json that is older has no supervisor


def follow(layout: Layout, run_id: str, name: str, offset: int, out: BinaryIO) -> None:
    """Writes the file from `offset` on to `out`, in frames, until the run has ended and all is sent.

    Returns, or raises OSError, once the client has disconnected, since no frame can be written any more.
    """
    path = _path(layout, run_id, name)
    writer = frames.Writer(out)
    while True:
        is_last = has_ended(layout, run_id)  # checked before reading, so that the last bytes are not missed
        for block in _blocks(path, offset):
            writer.write(block)
            offset += len(block)
        if is_last:
            writer.end()
        if is_last or writer.is_closed:
            return
        time.sleep(0.03)


def record_transfer(layout: Layout) -> None:
    """Records that a client is transferring files, which counts as activity for the idle limit."""
    with contextlib.suppress(OSError), open(layout.transfer, "w"):
        os.utime(layout.transfer)


def has_ended(layout: Layout, run_id: str) -> bool:
    """Returns whether the run has ended, so that none of its processes will write any more."""
    paths = layout.run(run_id)
    state = State.load(paths.state)
    if state is None:
        age = time.time() - os.stat(paths.folder).st_mtime if os.path.isdir(paths.folder) else None
        return age is None or age > _START_TIMEOUT
    if state.ended is not None:
        return True
    if processes.is_alive(state.supervisor, state.boot):
        return False
    spec = RunSpec.load(paths.run_json)
    is_alive = elsewhere.find(paths, state) or run_processes.find(spec.mark if spec else "", state)
    return not is_alive


def _path(layout: Layout, run_id: str, name: str) -> str:
    if name not in READABLE:
        raise Refused("name", "only %s can be read" % " and ".join(READABLE))
    return os.path.join(layout.run(run_id).folder, name)


def _blocks(path: str, offset: int) -> Iterator[bytes]:
    try:
        with files.open_regular(path) as handle:
            handle.seek(offset)
            yield from iter(lambda: handle.read(_BLOCK), b"")
    except OSError:  # missing or damaged, which the run's facts report
        return
