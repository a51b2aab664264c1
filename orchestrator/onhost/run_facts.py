"""Facts of a run on its host: its files and its processes, without a judgement of its state."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from orchestrator.core import tmux
from orchestrator.core.layout import RUN_ID, Layout
from orchestrator.onhost import files, processes
from orchestrator.onhost.records import RunSpec, State

_TAIL = 16 * 1024  # bytes at the end of the log that are searched for its last lines
_EVENTS_TAIL = 1024 * 1024
_FULL = 10  # of the newest runs log and events are read, of older ones only on request
_SPEC_KEYS = ("id", "job", "created", "who", "trainer", "limits", "outputs", "mark", "client", "pass_env")


class RunFacts(NamedTuple):
    """`spec` and `state` are None if their file is missing or damaged; `pids`: all processes with its mark.

    `is_supervised`: whether its supervisor is alive. `is_brief`: log and events were not read.
    """

    id: str
    folder: str
    spec: RunSpec | None
    state: State | None
    is_brief: bool
    is_supervised: bool
    pids: list[int]
    session: str | None
    log_bytes: int
    last_lines: list[str]
    events: list[str]
    checkpoints: dict[str, Any]
    folder_changed: float

    @property
    def is_alive(self) -> bool:
        return self.is_supervised or bool(self.pids)

    @property
    def job(self) -> str | None:
        return self.spec.job if self.spec else None

    @property
    def created(self) -> float:
        """Epoch seconds. The id has whole seconds only, which two runs may share."""
        return (self.spec.created if self.spec else None) or self.folder_changed

    def to_json(self) -> dict[str, Any]:
        """The form that clients read and cache."""
        return {
            "id": self.id,
            "folder": self.folder,
            "run": {key: self.spec.record.get(key) for key in _SPEC_KEYS} if self.spec else None,
            "state": self.state.to_json() if self.state else None,
            "brief": self.is_brief,
            "supervised": self.is_supervised,
            "pids": self.pids,
            "session": self.session,
            "log": {"bytes": self.log_bytes, "tail": self.last_lines},
            "events": self.events,
            "checkpoints": self.checkpoints,
            "folder_changed": self.folder_changed,
        }


def run_ids(layout: Layout) -> list[str]:
    """Every run on this host, oldest first."""
    try:
        names = os.listdir(layout.runs)
    except OSError:
        return []
    return sorted((name for name in names if RUN_ID.match(name)), key=lambda name: name[-20:])


def find(
    layout: Layout,
    run_id: str,
    lines: int,
    sessions: set[str] | None = None,
    marks: dict[str, list[int]] | None = None,
    brief: bool = False,
) -> RunFacts | None:
    """None if the run has no folder. `sessions` and `marks` are read unless they are passed.

    `brief`: without log and events.
    """
    paths = layout.run(run_id)
    if not os.path.isdir(paths.folder):
        return None
    spec, state = RunSpec.load(paths.run_json), State.load(paths.state)
    sessions = session_names(layout) if sessions is None else sessions
    marks = processes.by_mark() if marks is None else marks
    name = tmux.session_name(run_id)
    return RunFacts(
        id=run_id,
        folder=paths.folder,
        spec=spec,
        state=state,
        is_brief=brief,
        is_supervised=bool(state and processes.is_alive(state.supervisor, state.boot)),
        pids=marks.get(spec.mark, []) if spec else [],
        session=name if name in sessions else None,
        log_bytes=files.size(paths.log),
        last_lines=[] if brief else tail(paths.log, lines),
        events=[] if brief else latest_events(paths.events),
        checkpoints=checkpoints(paths.checkpoints),
        folder_changed=os.stat(paths.folder).st_mtime,
    )


def find_all(layout: Layout, lines: int) -> list[RunFacts]:
    """All runs, oldest first: the newest and those that are alive in full, the others in brief."""
    sessions, marks = session_names(layout), processes.by_mark()
    ids, runs = run_ids(layout), []
    for run_id in ids:
        run = find(layout, run_id, lines, sessions, marks, brief=run_id not in ids[-_FULL:])
        if run and run.is_brief and run.is_alive:
            run = find(layout, run_id, lines, sessions, marks)
        if run:
            runs.append(run)
    return sorted(runs, key=lambda run: run.created)


def session_names(layout: Layout) -> set[str]:
    listing = processes.output(tmux.listing(tmux.server(layout.tmux_socket)), timeout=10)
    return {session.name for session in tmux.parse_listing(listing)}


def tail(path: str, lines: int) -> list[str]:
    """The last lines as a terminal shows them: of a progress bar, what follows the last carriage return."""
    if lines <= 0:
        return []
    text = files.last_bytes(path, _TAIL).decode("utf-8", errors="replace")
    shown = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]
    return [line for line in shown if line.strip()][-lines:]


def latest_events(path: str) -> list[str]:
    """Raw lines, in order: the latest of each kind, and of `metrics` of each split.

    Only the last MiB is read, so that the answer stays fast for a run of several days.
    """
    latest: dict[str, str] = {}
    for line in files.last_bytes(path, _EVENTS_TAIL).decode("utf-8", errors="replace").split("\n"):
        kind = _kind(line)
        if kind:
            latest.pop(kind, None)
            latest[kind] = line
    return list(latest.values())


def last_event(path: str) -> dict[str, Any]:
    """The last event of a run; empty if it wrote none."""
    event: dict[str, Any] = json.loads((latest_events(path) or ["{}"])[-1])
    return event


def _kind(line: str) -> str | None:
    try:
        event = json.loads(line)
        detail = event.get("split") or event.get("best") or event.get("rule") or ""
        return "%s/%s" % (event["event"], detail)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def checkpoints(folder: str) -> dict[str, Any]:
    """Complete checkpoints by step, and the steps that the files `last` and `best` name."""
    try:
        names = os.listdir(folder)
    except OSError:
        names = []
    pointers = {name: pointer(folder, name) for name in ("last", "best")}
    return {
        "steps": sorted(int(name) for name in names if name.isdigit()),
        **{name: int(step) if step else None for name, step in pointers.items()},
    }


def pointer(folder: str, name: str) -> str:
    """The name of the checkpoint that `last` or `best` points to; empty if there is none."""
    text = files.last_bytes(os.path.join(folder, name), 64).decode(errors="replace").strip()
    return text if text.isdigit() else ""
