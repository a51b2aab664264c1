"""Facts on the host → one RunState: a sum type that carries its own data. Pure; `now` is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.core import events as ev

# A start that has not shown a supervisor after this many seconds will not.
PREPARING_FOR = 60.0


@dataclass(frozen=True)
class Preparing:
    since: float


@dataclass(frozen=True)
class Running:
    """`eta`: seconds still to go, None until there is a pace; `attempt` counts from 1."""

    step: int | None
    of: int | None
    since: float
    eta: float | None
    attempt: int


@dataclass(frozen=True)
class Succeeded:
    ended: float


@dataclass(frozen=True)
class Failed:
    """`code` or `signal`, whichever it ended with."""

    ended: float
    code: int | None
    signal: int | None
    reason: str
    last_lines: tuple[str, ...]


@dataclass(frozen=True)
class Stopped:
    """`by`: who asked, or the limit that was reached."""

    ended: float
    by: str


@dataclass(frozen=True)
class Preempted:
    """Ended with a checkpoint; resumable from `step`."""

    ended: float
    step: int | None


@dataclass(frozen=True)
class Orphaned:
    """The supervisor is gone, the trainer lives: it can be followed and stopped."""

    pids: tuple[int, ...]


@dataclass(frozen=True)
class Lost:
    """No process and no recorded end: the machine went down, or all of it was killed."""

    last_seen: float | None
    resumable_from: int | None


@dataclass(frozen=True)
class Unreachable:
    """The host does not answer, which says nothing of the run."""

    why: str


RunState = Preparing | Running | Succeeded | Failed | Stopped | Preempted | Orphaned | Lost | Unreachable
GOING = (Preparing, Running, Orphaned)

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


def as_dict(state: RunState) -> dict[str, Any]:
    return {"state": word(state), **asdict(state)}


def fold(seen: dict[str, Any], now: float) -> RunState:
    """The state that the facts of one run (onhost/look.py) show. Total: any facts give a state."""
    state = seen.get("state")
    account = ev.parse(seen.get("events") or []).events
    if state and state.get("ended") is not None:
        return _ended(seen, state)
    if seen.get("supervised"):
        return _running(state or {}, account, now)
    if seen.get("pids"):
        return Orphaned(tuple(seen["pids"]))
    created = (seen.get("run") or {}).get("created") or seen.get("folder_changed") or 0.0
    if state is None and now - created < PREPARING_FOR:
        return Preparing(created)
    return Lost(state.get("heartbeat") if state else None, _resumable(seen))


def _ended(seen: dict[str, Any], state: dict[str, Any]) -> RunState:
    ended, reason, code = state["ended"], state.get("reason") or "exit", state.get("exit_code")
    if reason == "exit" and code == 0:
        return Succeeded(ended)
    if reason == "stopped":
        return Stopped(ended, state.get("by") or "somebody")
    if reason in _LIMITS:
        return Stopped(ended, _LIMITS[reason])
    if reason == "preempted":
        return Preempted(ended, _resumable(seen))
    lines = tuple((seen.get("log") or {}).get("tail") or [])
    return Failed(ended, code, state.get("signal"), _why(code, state.get("signal")), lines)


def _why(code: int | None, by_signal: int | None) -> str:
    if by_signal is not None:
        return f"killed by signal {by_signal}"
    return _CODES.get(code or 0, f"exit code {code}")


def _running(state: dict[str, Any], account: Sequence[ev.Event], now: float) -> Running:
    at = _train_progress(account)
    return Running(
        step=at.step if at else None,
        of=at.of if at else None,
        since=state.get("first_started") or state.get("started") or now,
        eta=eta(account, now, state.get("started")),
        attempt=state.get("attempt") or 1,
    )


def eta(account: Sequence[ev.Event], now: float, started: float | None) -> float | None:
    """Seconds to go at the attempt's own pace: steps still to do over steps a second since it began.

    A script that tells no `start` began when its supervisor did (`started`).
    """
    begun, at = ev.last(account, ev.Start) or ev.Start(t=started or now), _train_progress(account)
    if not at or at.step is None or not at.of or at.t <= begun.t:
        return None
    done = at.step - (begun.resumed_from or 0)
    if done <= 0:
        return None
    pace: float = (at.t - begun.t) / done
    left: float = pace * (at.of - at.step) - max(0.0, now - at.t)
    return max(0.0, left)


def _train_progress(account: Sequence[ev.Event]) -> ev.Progress | None:
    trained = [e for e in account if isinstance(e, ev.Progress) and e.phase == "train"]
    return trained[-1] if trained else None


def _resumable(seen: dict[str, Any]) -> int | None:
    found: int | None = (seen.get("checkpoints") or {}).get("last")
    return found


def series(account: Sequence[ev.Event], split: str, name: str) -> list[float]:
    """One metric over time, for a sparkline; `train` and `loss` come from progress events."""
    if split == "train" and name == "loss":
        return [e.loss for e in account if isinstance(e, ev.Progress) and e.loss is not None]
    found = (e.values.get(name) for e in account if isinstance(e, ev.Metrics) and e.split == split)
    return [value for value in found if value is not None]
