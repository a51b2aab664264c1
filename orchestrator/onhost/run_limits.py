"""Decides when a run has reached its limit of hours or of idle time. The caller passes clock and samples."""

from __future__ import annotations

from typing import NamedTuple, Sequence

from orchestrator.onhost.gpus import Gpu

IDLE_GPU_PERCENT = 5


class Activity(NamedTuple):
    """Signs of a run's activity at one moment. `transfer`: when a client last transferred files."""

    log_bytes: int
    event_bytes: int
    transfer: float
    gpus: Sequence[Gpu]


def is_gpu_busy(gpus: Sequence[Gpu]) -> bool:
    """Returns whether any GPU is used at 5 % or more. A GPU that does not report its use counts as idle."""
    return any((gpu.use_percent or 0) >= IDLE_GPU_PERCENT for gpu in gpus)


class Watch:
    """Follows the activity of a run and reports which limit it has reached.

    `max_hours` counts all attempts of the run. A run is idle if, for `idle_minutes`, its log and events did
    not grow, no client transferred files, and none of its GPUs was busy.
    """

    def __init__(self, now: float, used: float, max_hours: float | None, idle_minutes: float | None) -> None:
        self._started = now
        self._used = used
        self._max_seconds = None if max_hours is None else max_hours * 3600
        self._idle_limit = None if idle_minutes is None else idle_minutes * 60
        self._active_at = now
        self._last: Activity | None = None
        self.is_active = True  # whether the last call of `verdict` found activity

    def used_seconds(self, now: float) -> float:
        """Returns the seconds that the run has used its host, earlier attempts included."""
        return self._used + max(0.0, now - self._started)

    def verdict(self, now: float, activity: Activity) -> str | None:
        """Returns the limit that is reached: `hours`, `idle` or None. `now`: monotonic seconds."""
        self.is_active = self._is_active(activity)
        if self.is_active:
            self._active_at = now
        self._last = activity
        if self._max_seconds is not None and self.used_seconds(now) >= self._max_seconds:
            return "hours"
        if self._idle_limit is not None and now - self._active_at >= self._idle_limit:
            return "idle"
        return None

    def note_activity(self, now: float) -> None:
        """Records activity of the run on another host."""
        self._active_at = now

    def idle_seconds(self, now: float) -> float:
        """Returns the seconds since the last activity that was passed to `verdict`."""
        return max(0.0, now - self._active_at)

    def _is_active(self, activity: Activity) -> bool:
        if self._last is None or is_gpu_busy(activity.gpus):
            return True
        return activity[:3] != self._last[:3]
