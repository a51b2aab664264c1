"""When queued runs are expected to start."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core import queue, runfacts
from orchestrator.core.runfacts import RunFacts

NOW = 1000.0


def run(number: int, gpus: int = 1, **facts: Any) -> RunFacts:
    parsed = runfacts.parse_run(
        {"id": f"job-20261121T101112-{number:04x}", "run": {"resources": {"gpus": gpus}}, **facts}
    )
    assert parsed
    return parsed


def running(number: int, left: float | None, gpus: int = 1, leased: int | None = None) -> RunFacts:
    event = f'{{"event": "progress", "t": {NOW}, "step": 1, "of": 9, "left": {left}}}'
    events = [] if left is None else [event]
    return run(number, gpus, supervised=True, state={"started": 1.0}, events=events, leased=leased)


def queued(number: int, place: int, gpus: int = 1) -> RunFacts:
    return run(number, gpus, queue={"place": place, "of": 9, "since": 1.0})


@pytest.mark.parametrize(
    ("runs", "gpus", "expected"),
    [
        ([running(1, 60.0, leased=1), queued(2, 1)], 1, {2: 60.0}),
        ([running(1, None, leased=1), queued(2, 1)], 1, {}),
        ([running(1, 60.0, leased=1), queued(2, 1), queued(3, 2)], 1, {2: 60.0}),
        (
            [running(1, 60.0, 2, 2), running(2, 90.0, 2, 2), queued(3, 1, 3), queued(4, 2)],
            4,
            {3: 90.0, 4: 90.0},
        ),
        ([running(1, 60.0, 2, 2), running(2, None, 2, 2), queued(4, 2), queued(3, 1, 2)], 4, {3: 60.0}),
        ([running(1, 60.0), queued(2, 1)], 4, {2: 60.0}),
        ([running(1, 60.0, gpus=0), queued(2, 1)], 4, {2: 0.0}),
        ([running(1, 60.0, gpus=0), queued(2, 1, 0)], 0, {2: 60.0}),
        ([queued(2, 1, 8)], 4, {}),
        ([running(1, 60.0, leased=1), queued(2, 1)], None, {}),
    ],
)
def test_a_start_is_expected_when_the_runs_before_it_say_they_end(
    runs: list[RunFacts], gpus: int | None, expected: dict[int, float]
) -> None:
    found = queue.expected_starts(runs, gpus, NOW)
    assert {int(name[-4:], 16): seconds for name, seconds in found.items()} == expected
