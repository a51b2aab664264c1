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
    """Seconds between two polls, which grow to half a second: what is polled needs the CPU too."""
    while True:
        yield first
        first = min(0.5, first * 1.5)


def wait_until(condition: Callable[[], T], what: str, pause: float = 0.05) -> T:
    """Poll `condition`, at first every `pause` seconds; return its first true value, or fail with `what`."""
    end = time.monotonic() + PATIENCE
    for seconds in pauses(pause):
        if value := condition():
            break
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(seconds)
    return value
