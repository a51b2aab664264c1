"""What the hosts of a run over several hosts tell each other, and what rank 0 makes of it. Pure."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple

from orchestrator.onhost import exits
from orchestrator.onhost.exits import Exit

FIRST = 300.0  # seconds in which all hosts must be there for the first attempt
RETURN = 900.0  # seconds in which a lost host must be back
PREEMPTED = "preempted"  # the reason of a host that shuts down: it may come back, and that is no failure


class Report(NamedTuple):
    """What a host says between two attempts. `end`: of its last attempt, None before the first.

    `reason`: why it must not go on, such as `stopped`, by the user in `by`. `is_free`: its last attempt was
    ended because another host shut down, so that the next one uses none of the restarts.
    """

    attempt: int
    end: Exit | None = None
    reason: str | None = None
    by: str | None = None
    is_free: bool = False

    @classmethod
    def parse(cls, message: Any) -> Report:
        """Of the JSON array in which another host sends it."""
        attempt, end, reason, by, is_free = message
        return cls(attempt, Exit(*end) if end else None, reason, by, bool(is_free))


class Go(NamedTuple):
    """The next attempt. `address` and `port`: where the processes of rank 0 listen."""

    attempt: int
    restarts: int
    address: str
    port: int


class Finish(NamedTuple):
    """The run ends. `end`: None for the host's own; `reason`: None for `exit`."""

    end: Exit | None
    reason: str | None = None
    by: str | None = None


class Halt(NamedTuple):
    """This host's command must end. `reason`: None where the run may be restarted.

    `is_free`: another host shuts down; see Report.
    """

    why: str
    reason: str | None = None
    by: str | None = None
    is_free: bool = False


class Situation(NamedTuple):
    """What rank 0 knows. `reports`: of the hosts that are ready, in the order of their arrival.

    `absent`: since when each host that is not connected is missed. `has_met`: these supervisors have begun an
    attempt before.
    """

    size: int
    reports: Mapping[int, Report]
    absent: Mapping[int, float]
    stop: Halt | None
    restarts: int
    max_restarts: int
    has_met: bool


def decide(now: Situation, clock: float) -> Go | Finish | None:
    """Returns what happens next; None while a host is still busy or may come. The address of Go is empty."""
    if len(now.reports) + len(now.absent) < now.size:
        return None
    stops = [one for one in now.reports.values() if one.reason]
    if now.stop or stops:
        return Finish(None, now.stop.reason, now.stop.by) if now.stop else Finish(None, *stops[0][2:4])
    ends = [one.end for one in now.reports.values() if one.end]
    failed = [end for end in ends if end.code != 0]
    final = [end for end in failed if end.code in exits.FINAL]
    if final:
        return Finish(final[0])
    is_free = any(one.is_free for one in now.reports.values())
    may_restart = is_free or now.restarts < now.max_restarts
    attempt = max(one.attempt for one in now.reports.values())
    if now.absent:
        is_late = clock - min(now.absent.values()) > (RETURN if now.has_met else FIRST)
        return lost(attempt, is_free) if is_late or (now.has_met and not may_restart) else None
    if len(ends) == now.size and not failed:
        return Finish(Exit(0, None))
    if not ends:
        return Go(attempt + 1, now.restarts, "", 0)
    if not may_restart:
        return Finish(failed[0] if failed else Exit(1, None))
    return Go(attempt + 1, now.restarts + (0 if is_free else 1), "", 0)


def lost(attempt: int, is_free: bool = False) -> Finish:
    """The end of a run of which a host did not come, or did not come back after an attempt."""
    if is_free:
        return Finish(None, PREEMPTED)
    return Finish(Exit(1, None), "host-lost" if attempt else "not-started")
