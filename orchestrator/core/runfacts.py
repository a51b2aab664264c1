"""What a host says of its runs → typed facts (orchestrator/onhost/run_facts.py). None means unknown. Pure."""

from __future__ import annotations

import msgspec

from orchestrator.core import decode
from orchestrator.core.decode import Count, Seconds
from orchestrator.core.events import Event
from orchestrator.core.events import parse as parse_events
from orchestrator.core.layout import RUN_ID
from orchestrator.core.notify import Notify
from orchestrator.core.resources import Resources


class Group(msgspec.Struct, frozen=True):
    """Of run.json of a run over several hosts: the host's rank, and all hosts as the user typed them."""

    rank: Count = 0
    hosts: tuple[str, ...] = ()


class Absent(msgspec.Struct, frozen=True):
    """A host of a run over several that is missing, since when (seconds since 1970)."""

    host: str = ""
    since: Seconds = 0.0


class GroupState(msgspec.Struct, frozen=True):
    """`problem`: why rank 0 cannot be reached from the host."""

    absent: tuple[Absent, ...] = ()
    problem: str = ""


class RunS3(msgspec.Struct, frozen=True):
    """How the run reaches S3, and where its results are copied to."""

    credentials: str = "host"
    role: str = ""
    endpoint: str = ""
    region: str = ""
    mirror: str | None = None


class MirrorState(msgspec.Struct, frozen=True):
    """The copy of the run's results in S3, at `place`. `state`: copying, complete or failed. `error`: the
    last one. `count` and `bytes`: of the files that were copied and verified."""

    state: str = ""
    error: str | None = None
    place: str = ""
    count: Count = 0
    bytes: Count = 0


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


class GpuUse(msgspec.Struct, frozen=True):
    """How much a run used a GPU. `use_percent`: the mean of `samples`; `used_mib`: the most of its memory."""

    name: str = ""
    total_mib: Count | None = None
    samples: Count = 0
    use_percent: float | None = None
    used_mib: Count | None = None


class SupervisorState(msgspec.Struct, frozen=True):
    """What is used of state.json (docs/contract.md). Times in seconds since 1970."""

    supervisor: Process | None = None
    child: Process | None = None
    attempt: Count | None = None
    first_started: Seconds | None = None
    started: Seconds | None = None
    heartbeat: Seconds | None = None
    used_seconds: Seconds | None = None
    gpu_use: tuple[GpuUse, ...] = ()
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


def parse_run(answer: object) -> RunFacts | None:
    """One run; None for an answer without a valid id, which may name a file here."""
    if not isinstance(answer, dict):
        return None
    events = answer.get("events")
    parsed = parse_events(events if isinstance(events, list) else ())
    facts = decode.struct({**decode.one_line({**answer, "events": ()}), "events": parsed}, RunFacts)
    return facts if facts and RUN_ID.match(facts.id) else None


class Unfetched(msgspec.Struct, frozen=True):
    """Files that no client has fetched as they are now; `largest`: the paths of some, largest first."""

    files: Count = 0
    bytes: Count = 0
    largest: tuple[str, ...] = ()


class Files(msgspec.Struct, frozen=True):
    files: Count = 0
    bytes: Count = 0
    unfetched: Unfetched = Unfetched()

    def __add__(self, other: Files) -> Files:
        mine, theirs = self.unfetched, other.unfetched
        largest = (*mine.largest, *theirs.largest)
        left = Unfetched(mine.files + theirs.files, mine.bytes + theirs.bytes, largest)
        return Files(self.files + other.files, self.bytes + other.bytes, left)


class Written(msgspec.Struct, frozen=True):
    """What a run wrote, in any format: below `checkpoints`, as declared `outputs`, and as `others` in its
    working folder."""

    checkpoints: Files = Files()
    outputs: Files = Files()
    others: Files = Files()
