"""Numbers that a user gives, on the command line and in files."""

from __future__ import annotations

import math

from orchestrator.errors import UsageError


def is_positive(value: float | None) -> bool:
    """Not given, or a number above 0 that time and money can be counted by."""
    return value is None or (math.isfinite(value) and value > 0)


def require_positive(flag: str, value: float | None) -> None:
    """UsageError for the value of a flag that is no number above 0."""
    if not is_positive(value):
        raise UsageError(f"{flag} {value:g}: it must be above 0, and finite")
