"""When a run must end by itself: hours and idleness. Pure; the supervisor brings clock and samples."""

from __future__ import annotations

from typing import Any, NamedTuple

IDLE_GPU_PERCENT = 5


class Activity(NamedTuple):
    """What can be seen of a run at one moment."""

    log_bytes: int
    event_bytes: int
    transfer: float
    gpus: list[dict[str, Any]]


def gpu_busy(gpus: list[dict[str, Any]]) -> bool:
    """Any GPU at 5 % or more. A GPU that does not tell counts as idle: log and events decide."""
    return any((gpu.get("use_percent") or 0) >= IDLE_GPU_PERCENT for gpu in gpus)


class Watch:
    """Follows activity and names the limit that is reached.

    hours: of this run over all its attempts. Idle: no growth of log or events, no transfer of
    ours, and no busy GPU, for `idle_minutes` together.
    """

    def __init__(self, now: float, used: float, max_hours: float | None, idle_minutes: float | None) -> None:
        self._started = now
        self._used = used
        self._max_seconds = None if max_hours is None else max_hours * 3600
        self._idle_seconds = None if idle_minutes is None else idle_minutes * 60
        self._active_at = now
        self._last: Activity | None = None

    def used(self, now: float) -> float:
        """Seconds that the run has had, earlier attempts included."""
        return self._used + max(0.0, now - self._started)

    def verdict(self, now: float, seen: Activity) -> str | None:
        """`hours`, `idle` or None. `now` is monotonic seconds."""
        if self._is_active(seen):
            self._active_at = now
        self._last = seen
        if self._max_seconds is not None and self.used(now) >= self._max_seconds:
            return "hours"
        if self._idle_seconds is not None and now - self._active_at >= self._idle_seconds:
            return "idle"
        return None

    def idle_for(self, now: float) -> float:
        """Seconds since the last sign of life that `verdict` saw."""
        return max(0.0, now - self._active_at)

    def _is_active(self, seen: Activity) -> bool:
        before = self._last
        if before is None or gpu_busy(seen.gpus):
            return True
        return seen[:3] != before[:3]
