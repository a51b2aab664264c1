"""Facts of a run → one RunState: a sum type that carries its own data. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import msgspec

from orchestrator.core import events as ev
from orchestrator.core.events import Event
from orchestrator.core.runfacts import RunFacts, SupervisorState
from orchestrator.core.text import killed_by, meaning

# A start that has not shown a supervisor after this many seconds will not.
PREPARING_FOR = 60.0


class Preparing(msgspec.Struct, frozen=True):
    since: float


class Queued(msgspec.Struct, frozen=True):
    """Waits on its host for its GPUs, at `place` of `of`. `expected`: seconds until its start, None where
    that is not known; `blocker`: why the first one waits."""

    since: float | None
    place: int
    of: int
    expected: float | None = None
    blocker: str | None = None


class Running(msgspec.Struct, frozen=True):
    """`eta`: seconds still to go, None until there is a pace; `attempt` counts from 1."""

    step: int | None
    of: int | None
    since: float
    eta: float | None
    attempt: int


class Succeeded(msgspec.Struct, frozen=True):
    ended: float


class Failed(msgspec.Struct, frozen=True):
    """`code` or `signal`, whichever it ended with."""

    ended: float
    code: int | None
    signal: int | None
    reason: str
    last_lines: tuple[str, ...]


class Stopped(msgspec.Struct, frozen=True):
    """`by`: who asked, or the limit that was reached."""

    ended: float
    by: str


class Preempted(msgspec.Struct, frozen=True):
    """Interrupted; resumable from `step`, or from the start where it has no checkpoint.

    `is_last_known`: its host ended before it answered again, so that there may be a later checkpoint.
    """

    ended: float
    step: int | None
    is_last_known: bool = False


class Orphaned(msgspec.Struct, frozen=True):
    """The supervisor is gone, the trainer lives: it can be followed and stopped."""

    pids: tuple[int, ...]


class Lost(msgspec.Struct, frozen=True):
    """No process and no recorded end: the machine went down, or everything was killed.

    `host`: the machine that ran it last, if that is another one.
    """

    heartbeat: float | None
    resumable_from: int | None
    host: str | None = None


class Elsewhere(msgspec.Struct, frozen=True):
    """Alive on `host`, another machine that shares the folder of runs; only there it can be stopped."""

    host: str
    heartbeat: float | None


class Damaged(msgspec.Struct, frozen=True):
    """No process is seen, and the files that would tell how the run ended cannot be read."""

    reason: str


class Unreachable(msgspec.Struct, frozen=True):
    """The host does not answer, which says nothing of the run."""

    why: str


RunState = (
    Preparing
    | Queued
    | Running
    | Succeeded
    | Failed
    | Stopped
    | Preempted
    | Orphaned
    | Elsewhere
    | Lost
    | Damaged
    | Unreachable
)
WORDS = tuple(kind.__name__.lower() for kind in get_args(RunState))
GOING = (Preparing, Queued, Running, Orphaned, Elsewhere)

_LIMITS = {"hours": "the limit of hours", "idle": "the idle limit"}
_CODES = {
    64: "refused by its check",
    65: "its data cannot be used",
    66: "diverged",
    127: "the command could not be run",
}


def word(state: RunState) -> str:
    """The state's name in JSON: lower case."""
    return type(state).__name__.lower()


def fold(run: RunFacts, now: float) -> RunState:
    """The state that the facts of one run show. Total: any facts give a state."""
    state = run.state
    if run.queue:
        return Queued(run.queue.since, run.queue.place, run.queue.of, None, run.queue.reason)
    if state and state.ended is not None:
        return _ended(run, state, state.ended)
    if run.supervised:
        return _running(state or SupervisorState(), run.events, now)
    if run.pids:
        return Orphaned(run.pids)
    if run.elsewhere:
        return Elsewhere(run.elsewhere, state.heartbeat if state else None)
    if run.damage and (state is None or state.ended is None):
        return Damaged(run.damage[0])
    created = run.created or run.folder_changed or 0.0
    if state is None and now - created < PREPARING_FOR:
        return Preparing(created)
    return Lost(state.heartbeat if state else None, run.checkpoints.last, run.last_host)


def is_going(run: RunFacts, now: float) -> bool:
    return isinstance(fold(run, now), GOING)


def _ended(run: RunFacts, state: SupervisorState, ended: float) -> RunState:
    reason = state.reason or "exit"
    if reason == "exit" and state.exit_code == 0:
        return Succeeded(ended)
    if reason == "stopped":
        return Stopped(ended, state.by or "somebody")
    if reason in _LIMITS:
        return Stopped(ended, _LIMITS[reason])
    if reason == "preempted":
        return Preempted(ended, run.checkpoints.last)
    return Failed(ended, state.exit_code, state.signal, _why(state), run.log.tail)


def _why(state: SupervisorState) -> str:
    if state.reason == "host-lost":
        hosts = ", ".join(one.host for one in state.group.absent) if state.group else ""
        return f"host {hosts} was lost" if hosts else "a host was lost"
    if state.reason == "not-started" and state.group and state.group.absent:
        return f"host {', '.join(one.host for one in state.group.absent)} did not come"
    if state.signal is not None:
        return killed_by(state.signal)
    code = state.exit_code or 0
    ending = f": a command of it was {by_signal}" if (by_signal := meaning(code)) else ""
    return _CODES.get(code, f"exit code {state.exit_code}{ending}")


def _running(state: SupervisorState, events: Sequence[Event], now: float) -> Running:
    progress = _train_progress(events)
    return Running(
        step=progress.step if progress else None,
        of=progress.of if progress else None,
        since=state.first_started or state.started or now,
        eta=eta(events, now, state.started),
        attempt=state.attempt or 1,
    )


def eta(events: Sequence[Event], now: float, started: float | None) -> float | None:
    """Seconds until the end at the pace of this attempt: steps left over steps a second since it began.

    A script that sends no `start` began when its supervisor did (`started`).
    """
    start, progress = ev.last(events, ev.Start) or ev.Start(t=started or now), _train_progress(events)
    if not progress or progress.step is None or progress.t <= start.t or progress.of_epoch:
        return None
    if progress.left is not None:
        return max(0.0, progress.left - max(0.0, now - progress.t))
    if not progress.of:
        return None
    steps = progress.step - (start.resumed_from or 0)
    if steps <= 0:
        return None
    pace = (progress.t - start.t) / steps
    return max(0.0, pace * (progress.of - progress.step) - max(0.0, now - progress.t))


def _train_progress(events: Sequence[Event]) -> ev.Progress | None:
    return ev.last((e for e in events if isinstance(e, ev.Progress) and e.phase == "train"), ev.Progress)
