"""The helper's answers about a host and its runs → typed facts (orchestrator/onhost). None means unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.core import decode
from orchestrator.core.containers import Containers
from orchestrator.core.decode import Count, Seconds
from orchestrator.core.events import Event
from orchestrator.core.events import parse as parse_events
from orchestrator.core.groupfacts import Group, GroupState
from orchestrator.core.layout import RUN_ID
from orchestrator.core.machine import Disk as Disk
from orchestrator.core.machine import Gpu as Gpu
from orchestrator.core.machine import GpuProcess as GpuProcess
from orchestrator.core.machine import Machine as Machine
from orchestrator.core.machine import Memory as Memory
from orchestrator.core.notify import Notify
from orchestrator.core.resources import Resources
from orchestrator.core.s3facts import MirrorState, RunS3


class PythonFacts(msgspec.Struct, frozen=True):
    """An interpreter of the host. `cuda`: the version that its torch was built for. `packages`: the version
    of each requested one, None where it is not installed."""

    path: str
    version: str = ""
    torch: str | None = None
    cuda: str | None = None
    packages: dict[str, str | None] = {}


class Logout(msgspec.Struct, frozen=True):
    """What systemd-logind does when `user` logs out: whether it kills processes, removes shared memory."""

    user: str = ""
    kills: bool = False
    removes: bool = False


class DataCopy(msgspec.Struct, frozen=True):
    """How much of a data folder is on the host: all of it, or `bytes` and `files` that need no room again."""

    present: bool = False
    bytes: Count = 0
    files: Count = 0


class FolderFacts(msgspec.Struct, frozen=True):
    """A data folder that is on the host already."""

    path: str
    files: Count = 0
    bytes: Count = 0
    fingerprint: str = ""


class LiveRun(msgspec.Struct, frozen=True):
    """A run that has a process, or waits in the queue."""

    id: str
    job: str | None = None


class HostFacts(Machine, frozen=True, kw_only=True):
    """What a plan needs to know of a host.

    `tmux`: what `tmux -V` prints, None where it is not installed. `cuda_driver`: the newest CUDA that the
    NVIDIA driver runs. `trees`: the requested code trees that are on the host. `missing_commands`: the
    requested ones that are not on the PATH. `data_folders`: the requested ones by name, None where absent.
    `uploads`: how much of the data to be sent is on the host, by name. `containers`: None where not asked.
    `addresses`: its own ones, by which other hosts may reach it, the most likely first.
    """

    tmux: str | None = None
    rsync: str | None = None
    path: str = ""
    cuda_driver: str | None = None
    logout: Logout | None = None
    trees: tuple[str, ...] = ()
    missing_commands: tuple[str, ...] = ()
    live_runs: tuple[LiveRun, ...] = ()
    queued_runs: tuple[LiveRun, ...] = ()
    gpu_processes: tuple[GpuProcess, ...] = ()
    pythons: tuple[PythonFacts, ...] = ()
    uploads: dict[str, DataCopy] = msgspec.field(default_factory=dict)
    data_folders: dict[str, FolderFacts | None] = msgspec.field(default_factory=dict)
    containers: Containers | None = None
    addresses: tuple[str, ...] = ()

    @property
    def has_only_python3(self) -> bool:
        """Whether `python` was looked for and is missing, and python3 is there."""
        return "python" in self.missing_commands and "python3" not in self.missing_commands


def parse(answer: Mapping[str, object]) -> HostFacts:
    """The answer to `host_facts`."""
    listed = answer.get("pythons")
    pythons = [_python(python) for python in listed] if isinstance(listed, list) else []
    return decode.struct({**answer, "pythons": pythons}, HostFacts) or HostFacts()


def _python(answer: Any) -> Any:
    """The helper reports every package beside the interpreter's own facts."""
    return parse_python(answer) if isinstance(answer, dict) else answer


def parse_python(answer: Mapping[str, object]) -> PythonFacts:
    """Of orchestrator/onhost/host_facts.python_facts."""
    own = ("path", "version", "torch", "cuda")
    packages = {name: version for name, version in answer.items() if name not in own}
    return decode.struct({**answer, "packages": packages}, PythonFacts) or PythonFacts("")


class RunLimits(msgspec.Struct, frozen=True):
    max_hours: Seconds | None = None
    grace_seconds: Seconds = 60.0
    budget_usd: Seconds | None = None


class RunRecord(msgspec.Struct, frozen=True):
    """What is used of run.json. `source`: the job file, as it was shown."""

    job: str | None = None
    source: str = ""
    created: Seconds | None = None
    who: str | None = None
    trainer: str | None = None
    resources: Resources = Resources()
    limits: RunLimits = RunLimits()
    outputs: tuple[str, ...] = ()
    pass_env: tuple[str, ...] = ()
    notify: Notify | None = None
    group: Group | None = None
    s3: RunS3 | None = None


class AlertDelivery(msgspec.Struct, frozen=True):
    """An alert over one channel (webhook or command). `state`: pending, delivered or failed; `error`: of its
    last attempt. `t`: when it was due, in seconds since 1970."""

    event: str = ""
    channel: str = ""
    title: str = ""
    t: Seconds | None = None
    state: str = ""
    attempts: Count = 0
    error: str | None = None


class Process(msgspec.Struct, frozen=True):
    pid: Count | None = None


class SupervisorState(msgspec.Struct, frozen=True):
    """What is used of state.json (docs/contract.md). Times in seconds since 1970."""

    supervisor: Process | None = None
    child: Process | None = None
    attempt: Count | None = None
    first_started: Seconds | None = None
    started: Seconds | None = None
    heartbeat: Seconds | None = None
    used_seconds: Seconds | None = None
    ended: Seconds | None = None
    exit_code: Count | None = None
    signal: Count | None = None
    reason: str | None = None
    by: str | None = None
    group: GroupState | None = None


class Log(msgspec.Struct, frozen=True):
    bytes: Count | None = None
    tail: tuple[str, ...] = ()


class Checkpoints(msgspec.Struct, frozen=True):
    """Steps of the complete ones; `last` and `best` are steps too."""

    steps: tuple[Count, ...] = ()
    last: Count | None = None
    best: Count | None = None


class LogLine(msgspec.Struct, frozen=True):
    """A line of the log, and `what` it was taken for: progress, loss, `metrics of val`, …"""

    what: str = ""
    format: str = ""
    line: str = ""


class QueuePlace(msgspec.Struct, frozen=True):
    """Where a run waits for its GPUs: its place from 1, among `of` runs, `since` when. `reason`: why the
    first one still does, where that is known."""

    place: Count = 1
    of: Count = 1
    since: Seconds | None = None
    reason: str | None = None


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One run on its host.

    `record` and `state` are None where run.json and state.json are missing or cannot be read. `supervised`:
    its supervisor is alive. `elsewhere`: the machine on which it is alive, if that is not the host and its
    processes cannot be seen. `last_host`: the machine that ran it last, if that is not the host. `brief`: log
    and events were not read. `skipped_events`: lines among the latest events that are none. `from_log`: what
    its progress and metrics were read from, if it writes no events of them. `damage`: what of its folder
    cannot be read, and why. `queue`: None unless it waits for its GPUs. `leased`: how many GPUs are its
    own; None: it may use all.
    """

    id: str
    folder: str | None = None
    record: RunRecord | None = msgspec.field(default=None, name="run")
    state: SupervisorState | None = None
    brief: bool = False
    supervised: bool = False
    pids: tuple[Count, ...] = ()
    session: str | None = None
    log: Log = Log()
    events: tuple[Event, ...] = ()
    checkpoints: Checkpoints = Checkpoints()
    folder_changed: Seconds | None = None
    skipped_events: Count = 0
    from_log: tuple[LogLine, ...] = ()
    damage: tuple[str, ...] = ()
    elsewhere: str | None = None
    last_host: str | None = None
    alerts: tuple[AlertDelivery, ...] = ()
    mirror: MirrorState | None = None
    queue: QueuePlace | None = None
    leased: Count | None = None

    @property
    def job(self) -> str | None:
        return self.record.job if self.record else None

    @property
    def created(self) -> float | None:
        return self.record.created if self.record else None

    @property
    def group(self) -> Group | None:
        """Of a run over several hosts."""
        return self.record.group if self.record else None

    @property
    def ended(self) -> float | None:
        """When the supervisor recorded the end; None for a run that is going, and where that is unknown."""
        return self.state.ended if self.state else None

    @property
    def has_processes(self) -> bool:
        return self.supervised or bool(self.pids)

    def used_seconds(self, until: float) -> float:
        """Returns the seconds that the run used its host, in all attempts; if it is active, up to `until`."""
        used = (self.state.used_seconds if self.state else None) or 0.0
        heartbeat = self.state.heartbeat if self.state and self.supervised and self.ended is None else None
        return used + (max(0.0, until - heartbeat) if heartbeat is not None else 0.0)


class HostSnapshot(msgspec.Struct, frozen=True):
    """A host and its runs, oldest first."""

    machine: Machine
    runs: tuple[RunFacts, ...]


def parse_run(answer: object) -> RunFacts | None:
    """One run; None for an answer without a valid id, which may name a file here."""
    if not isinstance(answer, dict):
        return None
    events = answer.get("events")
    parsed = parse_events(events if isinstance(events, list) else ())
    facts = decode.struct({**decode.one_line({**answer, "events": ()}), "events": parsed}, RunFacts)
    return facts if facts and RUN_ID.match(facts.id) else None


def parse_snapshot(answer: Mapping[str, object]) -> HostSnapshot:
    """The answer to `look`. A run that cannot be read is left out; the others are as they are."""
    runs = answer.get("runs")
    parsed = (parse_run(run) for run in (runs if isinstance(runs, list) else ()))
    machine = decode.struct(decode.one_line({**answer, "runs": ()}), Machine) or Machine()
    return HostSnapshot(machine, tuple(run for run in parsed if run))
