"""What --json prints about runs, checkpoints and targets. docs/schemas/ is written from these types.

Every key is always there. Times are ISO 8601 in UTC, durations are seconds, sizes are bytes, and money is a
number of US dollars. A value that is not known, or that does not apply, is null.
"""

from __future__ import annotations

from typing import Any

from orchestrator.core.events import DataReport, Finding
from orchestrator.core.hostfacts import Disk, Gpu, Memory
from orchestrator.core.runfacts import Written
from orchestrator.view.answer import Answer, FetchedFile, Part, Time, Usd
from orchestrator.view.host_answers import Instance, Launch, Resource


class Health(Part, frozen=True, kw_only=True):
    rule: str
    severity: str
    message: str


class Mirror(Part, frozen=True, kw_only=True):
    """The copy of a run's results in S3. `state`: copying, complete or failed; `error`: the last."""

    place: str
    state: str
    error: str | None
    files: int
    bytes: int


class Alert(Part, frozen=True, kw_only=True):
    """An alert over one channel: webhook or command. `state`: pending, delivered or failed; `error`: of its
    last attempt. `t`: when it was due."""

    event: str
    channel: str
    title: str
    t: Time | None
    state: str
    attempts: int
    error: str | None


class LogLine(Part, frozen=True, kw_only=True):
    """A line of the log, and `what` it was taken for: progress, loss, lr, grad_norm, or `metrics of val`.

    `format`: tqdm, rich, keras, epoch, dictionary (also JSON), table or pairs (`step=10 loss=0.5`).
    """

    what: str
    format: str
    line: str


class RunCheckpoints(Part, frozen=True, kw_only=True):
    """Steps of the complete checkpoints; `last` and `best` are steps too."""

    steps: tuple[int, ...]
    last: int | None
    best: int | None


class Run(Part, frozen=True, kw_only=True):
    """A run. `state`: preparing, queued, running, succeeded, failed, stopped, preempted, orphaned, elsewhere,
    lost, damaged or unreachable; `reason` says why it failed, is damaged or is not reached.

    `step`, `of`, `epoch`, `loss`, `lr` and `grad_norm`: the latest progress. `from_log`: the lines of the log
    that these and `metrics` were read from; empty for a run that writes events of them. `attempt` counts
    from 1. `resumable_from`: the step of its last checkpoint. `host`: the machine that is known to run it, if
    that is another than its target. `brief`: it is an older run whose log and events were not read;
    `gpujob status RUN` reads them. `queue`: of a run in the state queued.
    """

    id: str
    job: str | None
    trainer: str | None
    who: str | None
    target: str | None
    host: str | None
    state: str
    reason: str | None
    by: str | None
    created: Time | None
    started: Time | None
    ended: Time | None
    heartbeat: Time | None
    attempt: int | None
    step: int | None
    of: int | None
    epoch: float | None
    loss: float | None
    lr: float | None
    grad_norm: float | None
    eta_seconds: float | None
    used_seconds: float | None
    exit_code: int | None
    signal: int | None
    resumable_from: int | None
    supervisor_pid: int | None
    trainer_pid: int | None
    pids: tuple[int, ...]
    session: str | None
    folder: str | None
    log_bytes: int | None
    last_lines: tuple[str, ...]
    metrics: dict[str, dict[str, float | None]]
    checkpoints: RunCheckpoints
    health: tuple[Health, ...]
    alerts: tuple[Alert, ...]
    mirror: Mirror | None
    skipped_events: int
    from_log: tuple[LogLine, ...]
    damage: tuple[str, ...]
    brief: bool
    queue: Queue | None
    cost_usd: Usd | None


class Queue(Part, frozen=True, kw_only=True):
    """Where a run waits for its GPUs: its place from 1, among `of` runs. `expected_seconds`: until its start,
    by what the runs before it report; `reason`: why the first one still waits. Null where it is not known."""

    place: int
    of: int
    since: Time | None
    expected_seconds: float | None
    reason: str | None


class Host(Part, frozen=True, kw_only=True):
    """A host of `status`. `read_at`: when the cached facts were read; null: it has just answered.

    `unreachable`: why it does not answer. `older`: how many ended runs the limit leaves out.
    """

    target: str
    hostname: str | None
    gpus: tuple[Gpu, ...] | None
    disk: Disk | None
    memory: Memory | None
    read_at: Time | None
    unreachable: str | None
    older: int
    instance: Instance | None


class Status(Answer, frozen=True, kw_only=True):
    hosts: tuple[Host, ...]
    runs: tuple[Run, ...]
    resources: tuple[Resource, ...]


class Monitor(Answer, frozen=True, kw_only=True):
    """How the run ended; also of `deploy --follow`."""

    run: Run


class Logs(Answer, frozen=True, kw_only=True):
    """Of `logs`: the chosen lines, the last 1000 unless --tail says more."""

    run: str
    lines: tuple[str, ...]


class Stop(Answer, frozen=True, kw_only=True):
    run: Run
    was_going: bool
    removed: tuple[str, ...]
    written: Written


class Started(Answer, frozen=True, kw_only=True):
    """Of `deploy`. `resumed_from`: the step of the checkpoint; null for a run from its beginning. `queued`:
    its place in the queue, from 1; null for a run that was started."""

    run: str
    session: str | None
    target: str
    resumed_from: int | None
    queued: int | None


class PlanStep(Part, frozen=True, kw_only=True):
    title: str
    reason: str
    done: bool
    bytes: int


class PlanDetails(Part, frozen=True, kw_only=True):
    job: str
    target: str
    steps: tuple[PlanStep, ...]
    notes: tuple[str, ...]
    launch: Launch | None


class Plan(Answer, frozen=True, kw_only=True):
    """Of `deploy --dry-run`."""

    plan: PlanDetails


class Check(Answer, frozen=True, kw_only=True):
    """The report of a trainer's checks; an error among `findings` means that a deploy is refused."""

    v: int
    event: str
    trainer: str
    packages: tuple[str, ...]
    tier: str
    seconds: float
    config: dict[str, Any]
    paths: tuple[str, ...]
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    skipped: tuple[str, ...]
    data: DataReport | None
    unusable: bool
    cached: bool


class Fetch(Answer, frozen=True, kw_only=True):
    """`left_out` could not be downloaded; `missing` are outputs that the run has not made."""

    run: str
    folder: str
    checkpoints: tuple[str, ...]
    files: tuple[FetchedFile, ...]
    left_out: tuple[str, ...]
    missing: tuple[str, ...]


class VerifiedCheckpoint(Part, frozen=True, kw_only=True):
    """`files`: how many were verified, its manifest included."""

    path: str
    files: int
    trainer: str | None
    step: int | None
    epoch: float | None
    metrics: dict[str, Any] | None
    code_tree: str | None
    data: Any


class Verify(Answer, frozen=True, kw_only=True):
    checkpoints: tuple[VerifiedCheckpoint, ...]


class DoctorRow(Part, frozen=True, kw_only=True):
    """`verdict`: ok, warning or missing."""

    what: str
    verdict: str
    detail: str
    fix: str


class Doctor(Answer, frozen=True, kw_only=True):
    target: str
    rows: tuple[DoctorRow, ...]


class Notify(Answer, frozen=True, kw_only=True):
    """`channels`: those over which the test alert was delivered (webhook, command)."""

    target: str
    channels: tuple[str, ...]


class SettingValue(Part, frozen=True, kw_only=True):
    value: str
    source: str


class Config(Answer, frozen=True, kw_only=True):
    """`files`: the settings files that were read."""

    settings: dict[str, SettingValue]
    files: tuple[str, ...]
