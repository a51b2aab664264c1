"""What a run reports from one look to the next."""

from __future__ import annotations

from orchestrator.core import events
from orchestrator.core.events import Event
from orchestrator.core.runfacts import RunFacts
from orchestrator.targets import helper
from orchestrator.targets.base import Host

_READ = 4 << 20  # bytes of events that one look reads, of however many


class RunEvents:
    """The events of a run, or what its log says of progress and metrics as long as it writes none."""

    def __init__(self) -> None:
        self._offsets = {helper.read_events: 0, helper.read_log_events: 0}

    def read(self, host: Host, run: RunFacts) -> tuple[tuple[Event, ...], bool]:
        """What is new, and whether it begins with the run's first event."""
        read = helper.read_log_events if run.from_log else helper.read_events
        is_first = self._offsets[read] == 0
        text, self._offsets[read] = read(host, run.id, self._offsets[read], _READ)
        return events.parse(text.splitlines()), is_first
