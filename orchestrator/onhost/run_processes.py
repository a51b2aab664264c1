"""Finds the processes of a run and ends them, whatever they did to hide: by mark, log, descent and session.

A process may clear its environment (`sudo` does), start a session of its own, or outlive its parent. It is
found if it has the run's mark, if its output goes to the run's log, if the supervisor has recorded it, if it
descends from such a process, or if it shares the session of one: the kernel does not reuse the number of a
session that has a living process.
"""

from __future__ import annotations

import os
import time
from typing import Iterable, Sequence

from orchestrator.core.layout import Layout
from orchestrator.onhost import elsewhere, processes, run_queue
from orchestrator.onhost.processes import Snapshot
from orchestrator.onhost.records import RunSpec, State

_START_TIMEOUT = 60.0  # seconds; a run folder without state.json that is older has no supervisor
_MOST = 1000  # number of processes that are recorded in state.json


def find(mark: str, state: State | None, snapshot: Snapshot | None = None, log: str = "") -> list[int]:
    """Returns the pids of a run, without its supervisor and what shares the supervisor's session.

    `log`: the path of the run's log.
    """
    snapshot = snapshot or processes.snapshot()
    table, marked = snapshot.table, set(snapshot.marks.get(mark, []) if mark else [])
    members, pane = marked.union(_writers(snapshot, log)), None
    if state and state.boot == processes.boot():
        recorded = [*state.processes, *([state.child] if state.child else [])]
        members |= {one["pid"] for one in recorded if _is_in(snapshot, one)}
        if state.supervisor and _is_in(snapshot, state.supervisor):
            supervisor = state.supervisor["pid"]
            pane = table[supervisor].session
            members |= {pid for pid, entry in table.items() if entry.parent == supervisor}
    return sorted(marked | _closure(snapshot, members, pane))


def _writers(snapshot: Snapshot, log: str) -> Sequence[int]:
    """Returns the pids whose output goes to this log; none for a link: it may lead to another run."""
    folder, name = os.path.split(log)
    return snapshot.writers.get(os.path.join(os.path.realpath(folder), name), ()) if log else ()


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
    is_alive = elsewhere.find(paths, state) or find(spec.mark if spec else "", state, log=paths.log)
    return not is_alive


def identities(pids: Iterable[int]) -> list[processes.Identity]:
    """Returns what state.json records of these processes, so that they are found without their supervisor."""
    answers = (processes.identity(pid) for pid in pids)
    return [one for one in answers if one["ticks"]][:_MOST]


def text(pids: Iterable[int]) -> str:
    """`pid 77 of root (sleep 1000), ...`."""
    shown = [processes.describe(pid) for pid in pids]
    return ", ".join("pid %(pid)d of %(user)s (%(command)s)" % one for one in shown[:5]) + (
        ", and %d more" % (len(shown) - 5) if len(shown) > 5 else ""
    )


def _is_in(snapshot: Snapshot, identity: processes.Identity) -> bool:
    entry = snapshot.table.get(identity["pid"])
    return entry is not None and entry.ticks == identity["ticks"]


def _closure(snapshot: Snapshot, members: set[int], pane: int | None) -> set[int]:
    """Adds descendants, and all processes in the members' sessions; `pane`: the supervisor's session.

    Session 0 may be several: /proc shows 0 for each that was begun outside the pid namespace.
    """
    if not members:
        return set()
    children: dict[int, list[int]] = {}
    sessions: dict[int, list[int]] = {}
    for pid, entry in snapshot.table.items():
        children.setdefault(entry.parent, []).append(pid)
        if entry.session not in (0, pane):
            sessions.setdefault(entry.session, []).append(pid)
    family, pending = set(), list(members)
    while pending:
        pid = pending.pop()
        member = snapshot.table.get(pid)
        if member is None or pid in family or member.session == pane:
            continue
        family.add(pid)
        pending += children.get(pid, []) + sessions.pop(member.session, [])
    return family
