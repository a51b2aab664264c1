"""An answer about a run → typed facts (orchestrator/onhost/run_facts.py). The cache has the same form."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.core import decode
from orchestrator.core.decode import Count, Seconds
from orchestrator.core.events import Event
from orchestrator.core.events import parse as parse_events
from orchestrator.core.hostfacts import Machine
from orchestrator.core.layout import RUN_ID


class RunLimits(msgspec.Struct, frozen=True):
    grace_seconds: Seconds = 60.0


class RunRecord(msgspec.Struct, frozen=True):
    """What is used of run.json."""

    job: str | None = None
    created: Seconds | None = None
    who: str | None = None
    trainer: str | None = None
    limits: RunLimits = RunLimits()
    outputs: tuple[str, ...] = ()
    pass_env: tuple[str, ...] = ()


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


class Log(msgspec.Struct, frozen=True):
    bytes: Count | None = None
    tail: tuple[str, ...] = ()


class Checkpoints(msgspec.Struct, frozen=True):
    """Steps of the complete ones; `last` and `best` are steps too."""

    steps: tuple[Count, ...] = ()
    last: Count | None = None
    best: Count | None = None


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One run on its host.

    `record` and `state` are None where run.json and state.json are missing or cannot be read. `supervised`:
    its supervisor is alive. `brief`: log and events were not read.
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

    @property
    def job(self) -> str | None:
        return self.record.job if self.record else None

    @property
    def created(self) -> float | None:
        return self.record.created if self.record else None

    @property
    def ended(self) -> float | None:
        """When the supervisor recorded the end; None for a run that is going, and where that is unknown."""
        return self.state.ended if self.state else None

    @property
    def has_processes(self) -> bool:
        return self.supervised or bool(self.pids)


class HostSnapshot(msgspec.Struct, frozen=True):
    """A host and its runs, oldest first."""

    machine: Machine
    runs: tuple[RunFacts, ...]


def parse(answer: object) -> RunFacts | None:
    """One run; None for an answer without a valid id, which may name a file here."""
    if not isinstance(answer, dict):
        return None
    events = answer.get("events")
    parsed = parse_events(events if isinstance(events, list) else ())
    facts = decode.struct({**answer, "events": parsed}, RunFacts)
    return facts if facts and RUN_ID.match(facts.id) else None


def parse_snapshot(answer: dict[str, Any]) -> HostSnapshot:
    """The answer to `look`. A run that cannot be read is left out; the others are as they are."""
    runs = answer.get("runs")
    parsed = (parse(run) for run in (runs if isinstance(runs, list) else ()))
    return HostSnapshot(decode.struct(answer, Machine) or Machine(), tuple(run for run in parsed if run))


def to_json(facts: RunFacts) -> dict[str, Any]:
    """For the cache; `parse` reads it."""
    fields: dict[str, Any] = msgspec.to_builtins(facts)
    return fields
