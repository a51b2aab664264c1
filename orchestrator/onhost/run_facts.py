"""Reads the facts of a run on its host, from its files and processes."""

from __future__ import annotations

import contextlib
import os
from typing import Mapping, NamedTuple, Sequence, TypedDict

from orchestrator.core import jsontext, tmux
from orchestrator.core.layout import RUN_ID, Layout, RunPaths
from orchestrator.core.paths import is_step
from orchestrator.onhost import (
    companions,
    elsewhere,
    event_file,
    files,
    leases,
    processes,
    run_processes,
    run_queue,
)
from orchestrator.onhost.companions import AlertFacts, MirrorFacts
from orchestrator.onhost.event_file import Events
from orchestrator.onhost.processes import Snapshot
from orchestrator.onhost.records import RunSpec, State
from orchestrator.onhost.run_queue import QueuePlace

_FULL = 10  # number of newest runs whose log and events are always read
_SPEC_KEYS = (
    *("id", "job", "source", "created", "who", "trainer", "resources", "limits", "outputs", "mark", "client"),
    *("pass_env", "notify", "group", "s3"),
)


class Checkpoints(TypedDict):
    """The steps of complete ones, and the steps that the files `last` and `best` name."""

    steps: list[int]
    last: int | None
    best: int | None


class Log(TypedDict):
    bytes: int
    tail: list[str]


class RunAnswer(TypedDict):
    """A run as clients read and cache it; see RunFacts. `run`, `state`: from the JSON files."""

    id: str
    folder: str
    run: Mapping[str, object] | None
    state: Mapping[str, object] | None
    brief: bool
    supervised: bool
    pids: list[int]
    session: str | None
    log: Log
    events: list[str]
    skipped_events: int
    from_log: list[Mapping[str, str]]
    checkpoints: Checkpoints
    folder_changed: float
    damage: list[str]
    elsewhere: str | None
    last_host: str | None
    alerts: list[AlertFacts]
    mirror: MirrorFacts | None
    queue: QueuePlace | None
    leased: int | None


NO_CHECKPOINTS: Checkpoints = {"steps": [], "last": None, "best": None}


class RunFacts(NamedTuple):
    """The facts of a run. `spec` and `state` are None if their file is missing or damaged.

    `damage`: what of the run's folder cannot be read, and why. Nothing else is affected by it.
    `pids`: all its processes (see run_processes). `is_supervised`: its supervisor is alive. `elsewhere`: the
    name of the machine on which it is alive, if that is not this one and its processes cannot be seen.
    `is_brief`: log and events were not read. `alerts`: their deliveries, oldest first. `queue`: the place of
    a run that waits for its GPUs. `leased`: how many are its own.
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
    events: Events
    checkpoints: Checkpoints
    folder_changed: float
    damage: list[str]
    elsewhere: str | None = None
    alerts: Sequence[AlertFacts] = ()
    mirror: MirrorFacts | None = None
    queue: QueuePlace | None = None
    leased: int | None = None

    @property
    def last_host(self) -> str | None:
        """The name of the machine that ran it last, if that is not this one."""
        return self.state.host if self.state and elsewhere.is_foreign(self.state) else None

    @property
    def is_alive(self) -> bool:
        """Whether it has processes on this machine."""
        return self.is_supervised or bool(self.pids)

    @property
    def job(self) -> str | None:
        return self.spec.job if self.spec else None

    @property
    def created(self) -> float:
        """Seconds since 1970, with fractions: two runs may have the same second in their ids."""
        return (self.spec.created if self.spec else None) or self.folder_changed

    def to_json(self) -> RunAnswer:
        """Returns what clients read and cache."""
        return {
            "id": self.id,
            "folder": self.folder,
            "run": _shown(self.spec) if self.spec else None,
            "state": vars(self.state) if self.state else None,
            "brief": self.is_brief,
            "supervised": self.is_supervised,
            "pids": self.pids,
            "session": self.session,
            "log": {"bytes": self.log_bytes, "tail": self.last_lines},
            "events": self.events.lines,
            "skipped_events": self.events.skipped,
            "from_log": [taken._asdict() for taken in self.events.from_log],
            "checkpoints": self.checkpoints,
            "folder_changed": self.folder_changed,
            "damage": self.damage,
            "elsewhere": self.elsewhere,
            "last_host": self.last_host,
            "alerts": list(self.alerts),
            "mirror": self.mirror,
            "queue": self.queue,
            "leased": self.leased,
        }


def _shown(spec: RunSpec) -> Mapping[str, object]:
    """Returns what clients use of run.json, without keys that are not set."""
    return {key: value for key in _SPEC_KEYS if (value := spec.record.values.get(key)) is not None}


def run_ids(layout: Layout, alive: Snapshot | None = None) -> list[str]:
    """Returns the ids of all runs on this host, oldest first; also of those `alive` without a folder."""
    names: set[str] = set()
    with contextlib.suppress(OSError):
        names.update(os.listdir(layout.runs))
    for pids in alive.marks.values() if alive else ():
        folder, name = os.path.split(processes.variable(pids[0], "GPUJOB_RUN_DIR") or "")
        names.update([name] if folder == layout.runs else [])
    return sorted((name for name in names if RUN_ID.match(name)), key=lambda name: name[-20:])


class Surroundings(NamedTuple):
    """What is read once for all runs: sessions of tmux, living processes, and places in the queue."""

    sessions: set[str]
    alive: Snapshot
    places: Mapping[str, QueuePlace]


def look_around(layout: Layout) -> Surroundings:
    listing = processes.output(tmux.listing(tmux.server(layout.tmux_socket)), timeout=10)
    sessions = {session.name for session in tmux.parse_listing(listing)}
    return Surroundings(sessions, processes.snapshot(), run_queue.places(layout))


def find(
    layout: Layout, run_id: str, lines: int, around: Surroundings | None = None, brief: bool = False
) -> RunFacts | None:
    """Returns the facts of a run with the last `lines` of its log; None if it has neither folder nor process.

    `around`: None to look. `brief`: log and events are not read.
    """
    paths = layout.run(run_id)
    around = around or look_around(layout)
    if not (os.path.isdir(paths.folder) or _mark_of(paths.folder, around.alive.marks)):
        return None
    name = tmux.session_name(run_id)
    facts = _NOTHING._replace(
        id=run_id,
        folder=paths.folder,
        session=name if name in around.sessions else None,
        is_brief=brief,
        queue=around.places.get(run_id),
    )
    try:
        return _read(facts, paths, lines, around.alive)
    except Exception as error:  # of this run alone: every other one is reported as it is
        return facts._replace(damage=["%s: %s" % (type(error).__name__, error)])


_NOTHING = RunFacts("", "", None, None, False, False, [], None, 0, [], Events([], 0), NO_CHECKPOINTS, 0.0, [])


def _read(facts: RunFacts, paths: RunPaths, lines: int, alive: Snapshot) -> RunFacts:
    """Returns `facts` with what the files of the run say."""
    damage = [] if os.path.isdir(paths.folder) else ["its folder was removed, its processes run on"]
    spec, state = RunSpec.load(paths.run_json, damage), State.load(paths.state, damage)
    for path in (paths.log, paths.events):
        fault = files.fault(path)
        damage += ["%s cannot be read: %s" % (os.path.basename(path), fault)] if fault else []
    if spec is None:
        mark = _mark_of(paths.folder, alive.marks)
        spec = RunSpec.parse({"id": facts.id, "mark": mark}) if mark else None
    return facts._replace(
        spec=spec,
        state=state,
        is_supervised=bool(state and processes.is_alive(state.supervisor, state.boot)),
        pids=run_processes.find(spec.mark if spec else "", state, alive, paths.log),
        log_bytes=files.size(paths.log),
        last_lines=[] if facts.is_brief else files.last_lines(paths.log, lines),
        events=facts.events if facts.is_brief else latest_events(paths, spec.trainer if spec else None),
        checkpoints=checkpoints(paths.checkpoints),
        folder_changed=files.mtime(paths.folder),
        damage=damage,
        elsewhere=elsewhere.find(paths, state),
        alerts=companions.read_alerts(paths.alerts),
        mirror=companions.read_mirror(paths.mirror),
        leased=len(lease.gpus) if (lease := leases.load(paths)) else None,
    )


def latest_events(paths: RunPaths, trainer: str | None) -> Events:
    """The latest events; of a program that writes no progress and no metrics, what its log says of them."""
    own = event_file.latest(paths.events)
    kinds = {jsontext.parse_object(line)["event"] for line in own.lines}
    if trainer or kinds & {"progress", "metrics"}:
        return own
    from orchestrator.onhost import log_events  # noqa: PLC0415 - 30 ms that a run with events does not need

    read = log_events.latest(paths.log)
    return Events(own.lines + read.lines, own.skipped, read.taken)


def _mark_of(folder: str, marks: dict[str, list[int]]) -> str:
    """Returns the mark of the processes that run in `folder`; empty if there are none."""
    for mark, pids in marks.items():
        if pids and processes.variable(pids[0], "GPUJOB_RUN_DIR") == folder:
            return mark
    return ""


def find_all(layout: Layout, lines: int) -> list[RunFacts]:
    """Returns all runs, oldest first. Log and events are read for the newest 10 and for live runs only."""
    around = look_around(layout)
    ids, runs = run_ids(layout, around.alive), []
    for run_id in ids:
        run = find(layout, run_id, lines, around, brief=run_id not in ids[-_FULL:])
        if run and run.is_brief and run.is_alive:
            run = find(layout, run_id, lines, around)
        if run:
            runs.append(run)
    return sorted(runs, key=lambda run: run.created)


def find_brief(layout: Layout, besides: str = "") -> list[RunFacts]:
    """Returns all runs except `besides`, without session and place; log and events are not read."""
    around = Surroundings(set(), processes.snapshot(), {})
    names = [name for name in run_ids(layout) if name != besides]
    runs = (find(layout, name, 0, around, brief=True) for name in names)
    return [run for run in runs if run]


def checkpoints(folder: str) -> Checkpoints:
    """Returns the checkpoints in a folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        names = []
    last, best = (int(step) if (step := pointer(folder, name)) else None for name in ("last", "best"))
    return {"steps": sorted(int(name) for name in names if is_step(name)), "last": last, "best": best}


def pointer(folder: str, name: str) -> str:
    """Returns the name of the checkpoint that the file `last` or `best` names; empty if there is none."""
    text = files.last_bytes(os.path.join(folder, name), 64).decode(errors="replace").strip()
    return text if is_step(text) else ""
