"""The time limit for waiting in tests, so that a hanging test ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

PATIENCE = 240.0
"""Seconds. Nothing that a test waits for takes more than 30 on an idle machine; a busy one may be eight times
slower. pytest's own limit (`--timeout`, pyproject.toml) lies above it."""

T = TypeVar("T")


def pauses(first: float = 0.05) -> Iterator[float]:
    """Seconds to sleep between polls: growing to half a second, or to twice what a poll takes.

    What is polled needs the CPU too, and a poll may be a command with a connection of its own.
    """
    pause = first
    while True:
        begun = time.monotonic()
        yield pause
        poll = time.monotonic() - begun - pause
        pause = max(min(0.5, pause * 1.5), min(2 * poll, PATIENCE / 20))


def wait_until(condition: Callable[[], T], what: str, pause: float = 0.05) -> T:
    """Poll `condition`, at first every `pause` seconds; return its first true value, or fail with `what`."""
    end = time.monotonic() + PATIENCE
    for seconds in pauses(pause):
        if value := condition():
            break
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(seconds)
    return value
