"""The runs that wait on this host for their GPUs, first in first out: one file each in `queue/`.

A file is named by a number, which gives the order, and the run. It names the last start of the run: the run
waits until another start has been recorded in state.json, and goes on waiting if that supervisor died before
it started the command. So an entry whose run was started is void, even if whoever started it was killed
before the file was deleted.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import NamedTuple, TypedDict

from orchestrator.core.jsontext import Object
from orchestrator.core.layout import RUN_ID, Layout, RunPaths
from orchestrator.onhost import elsewhere, files, instance_limits, processes
from orchestrator.onhost.records import State

NEVER = "never"
_NAME = re.compile(r"(\d{1,12})\.(.+)\Z")
_FIRST = 10**6  # the number of the first entry; what goes before it gets a smaller one
_REASON = "reason.json"


class Entry(NamedTuple):
    """A file of the queue. `before`, `attempt`: the last start and attempt. `since`: seconds since 1970.

    `umask` and `restarts`: of the start. `resumes`: a run that has ended, which is to continue. `host` and
    `machine`: where it waits, if several machines share the folder.
    """

    number: int
    run: str
    since: float
    before: str = NEVER
    attempt: int = 0
    umask: int = 0o077
    restarts: int = 0
    resumes: bool = False
    host: str = ""
    machine: str = ""

    @property
    def name(self) -> str:
        return "%d.%s" % (self.number, self.run)


class QueuePlace(TypedDict):
    """The place of a run in the queue, from 1, `of` so many. `reason`: why the first one waits, if known."""

    place: int
    of: int
    since: float
    reason: str | None


def last_start(paths: RunPaths) -> str:
    """Returns a word for the latest start of a run. Every start, its attempts, and every end of a wait change
    it."""
    if not os.path.lexists(paths.state):
        return NEVER
    state = State.load(paths.state)
    if state is None or state.supervisor is None:
        return "none"
    return "%d.%d.%d" % (state.supervisor["pid"], state.supervisor["ticks"], state.attempt)


def is_empty(layout: Layout) -> bool:
    """Returns whether no file is in the queue: a quick look, which may be wrong for an entry that is void."""
    return not _names(layout)


def entries(layout: Layout) -> list[Entry]:
    """Returns the runs that wait on this machine, in their order."""
    found = [one for name in _names(layout) if (one := _load(layout, name)) and _waits(layout, one)]
    return sorted(found, key=lambda one: (one.number, one.run))


def find(layout: Layout, run_id: str) -> Entry | None:
    """Returns the entry of a run that waits on this machine."""
    return next((one for one in entries(layout) if one.run == run_id), None)


def add(
    layout: Layout, run_id: str, umask: int, restarts: int = 0, resumes: bool = False, first: bool = False
) -> None:
    """Adds a run at the end of the queue, or as the `first`, unless it waits already.

    The caller holds start.lock.
    """
    remove(layout, run_id, only_void=True)
    waiting = [one.number for one in _all(layout)]
    if find(layout, run_id):
        return
    number = min([*waiting, _FIRST]) - 1 if first else max([*waiting, _FIRST]) + 1
    state = State.load(layout.run(run_id).state)
    one = Entry(
        max(0, number),
        run_id,
        time.time(),
        last_start(layout.run(run_id)),
        state.attempt if state else 0,
        umask,
        restarts,
        resumes,
        elsewhere.host_name(),
        elsewhere.machine_id(),
    )
    os.makedirs(layout.queue, mode=0o700, exist_ok=True)
    files.write_json(os.path.join(layout.queue, one.name), {"v": 1, **one._asdict()})


def remove(layout: Layout, run_id: str, only_void: bool = False) -> None:
    """Deletes the entries of a run; `only_void`: those by which it does not wait any more."""
    for one in _all(layout):
        if one.run == run_id and not (only_void and _waits(layout, one)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(layout.queue, one.name))


def note(layout: Layout, run_id: str, reason: str) -> None:
    """Records why the first run of the queue still waits; nothing depends on it."""
    path = os.path.join(layout.queue, _REASON)
    value = {"v": 1, "run": run_id, "reason": reason}
    if files.load_json(path) != value:
        with contextlib.suppress(OSError):
            files.write_json(path, value)


def places(layout: Layout) -> dict[str, QueuePlace]:
    """Returns the place of each run that waits, by its id."""
    if is_empty(layout):
        return {}
    waiting, noted = entries(layout), files.load(os.path.join(layout.queue, _REASON)) or Object()
    reasons = {noted.text("run"): noted.text("reason")}
    return {
        one.run: {"place": number, "of": len(waiting), "since": one.since, "reason": reasons.get(one.run)}
        for number, one in enumerate(waiting, 1)
    }


def _names(layout: Layout) -> list[str]:
    try:
        names = os.listdir(layout.queue)
    except OSError:
        return []
    return [name for name in names if (match := _NAME.match(name)) and RUN_ID.match(match.group(2))]


def _all(layout: Layout) -> list[Entry]:
    return [one for name in _names(layout) if (one := _load(layout, name))]


def _load(layout: Layout, name: str) -> Entry | None:
    """Returns an entry, of a damaged file what its name says; None if it was deleted meanwhile."""
    number, _, run_id = name.partition(".")
    path = os.path.join(layout.queue, name)
    value = files.load(path) or Object()
    try:
        one = Entry(int(number), run_id, os.stat(path).st_mtime)
    except OSError:
        return None
    valid = {key: value.get(key, type(getattr(one, key))) for key in Entry._fields[2:]}
    return one._replace(**{key: read for key, read in valid.items() if read is not None})


def _waits(layout: Layout, one: Entry) -> bool:
    """Returns whether the run waits here. The volume of an EC2 instance that has ended brings its queue."""
    paths = layout.run(one.run)
    is_here = elsewhere.is_here(one.host, one.machine) or instance_limits.find() is not None
    if not is_here or not os.path.exists(paths.run_json):
        return False
    return last_start(paths) == one.before or _has_died_early(paths, one)


def _has_died_early(paths: RunPaths, one: Entry) -> bool:
    """Returns whether the supervisor died that was to start the next attempt, before it did."""
    state = State.load(paths.state)
    if state is None or state.supervisor is None or state.ended is not None:
        return False
    return state.attempt == one.attempt and not processes.is_alive(state.supervisor, state.boot)
