"""How long a test waits for what takes a moment, so that a hang still ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 240.0
"""Seconds. Nothing that a test waits for takes more than 30 on an idle machine; a busy one may be eight times
slower. pytest's own limit (`--timeout`, pyproject.toml) lies above it."""

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, pause: float = 0.05) -> T:
    """The first true value of `condition`, called every `pause` seconds; else AssertionError with `what`."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(pause)
    return value
