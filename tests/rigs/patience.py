"""The time limit for waiting in tests, so that a hanging test ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 240.0
"""Seconds. Nothing that a test waits for takes more than 30 on an idle machine; a busy one may be eight times
slower. pytest's own limit (`--timeout`, pyproject.toml) lies above it."""

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, pause: float = 0.05) -> T:
    """Call `condition` every `pause` seconds; return its first true value. AssertionError with `what`."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(pause)
    return value
