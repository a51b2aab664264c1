"""Which files of a run clients may read, whether the run has ended, and that a client transfers files."""

from __future__ import annotations

import contextlib
import os
import time

from orchestrator.core.layout import Layout
from orchestrator.onhost import elsewhere, processes, run_processes, run_queue
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import RunSpec, State

READABLE = ("log", "events.jsonl")
_START_TIMEOUT = 60.0  # seconds; a run folder without state.json that is older has no supervisor


def record_transfer(layout: Layout) -> None:
    """Records that a client is transferring files, which counts as activity for the idle limit."""
    with contextlib.suppress(OSError), open(layout.transfer, "w"):
        os.utime(layout.transfer)


def has_ended(layout: Layout, run_id: str) -> bool:
    """Returns whether the run has ended, so that none of its processes will write any more."""
    paths = layout.run(run_id)
    if not run_queue.is_empty(layout) and run_queue.find(layout, run_id):
        return False
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


def path(layout: Layout, run_id: str, name: str) -> str:
    """Returns the path of a file of a run that clients may follow; others are refused."""
    if name not in READABLE:
        raise Refused("name", "only %s can be read" % " and ".join(READABLE))
    return os.path.join(layout.run(run_id).folder, name)
