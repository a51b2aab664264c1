"""What a run owes the box it is on, and what the box tells the run."""

from __future__ import annotations

import contextlib
from typing import Any, Callable

from orchestrator.onhost import box

IDLE_MINUTES = 30.0  # of a job that sets none: a box must not wait for ever
SLACK = 10.0  # seconds between two looks, and to write the end down


class BoxWatch:
    """Renews the lease while the run is not idle; ends the run before the box ends.

    The lease outlasts the run's own idle limit by its grace, so that a run that is ended for idleness still
    writes its checkpoint. `notice` asks the metadata service.
    """

    def __init__(
        self,
        found: box.Box | None,
        idle_minutes: float | None,
        grace: float,
        notice: Callable[[], dict[str, Any] | None],
    ) -> None:
        self._box = found
        self._idle = (IDLE_MINUTES if idle_minutes is None else idle_minutes) * 60
        self._grace = grace
        self._notice = notice
        self.said = ""

    def verdict(self, now: float, idle_for: float) -> str | None:
        """`hours`, `preempted` or None; `said` then tells more. `now`: epoch seconds; `idle_for`: seconds."""
        if self._box is None:
            return None
        with contextlib.suppress(OSError):  # a lease that cannot be renewed ends the box: that is its purpose
            self._box.renew(now - idle_for + self._idle + self._grace + SLACK)
        deadline = self._box.deadline
        if deadline is not None and now >= deadline - self._grace - SLACK:
            self.said = "the box goes off at its deadline, in %d seconds" % max(0, deadline - now)
            return "hours"
        notice = self._notice() if self._box.is_spot else None
        if notice is None:
            return None
        with contextlib.suppress(OSError):
            self._box.note(notice)
        self.said = "the spot market takes this box back: %s at %s" % (
            notice.get("action"),
            notice.get("time"),
        )
        return "preempted"
