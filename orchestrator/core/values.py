"""Numbers and times: as a user types them, and as JSON has them. Pure."""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone

from orchestrator.errors import UsageError

_AGO = re.compile(r"(\d+(?:\.\d+)?) ?(s|m|min|h|d|w)")
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def require_positive(flag: str, value: float | None) -> None:
    """UsageError for the value of a flag, if it is given, that is no number above 0."""
    if value is not None and not 0 < value < math.inf:
        raise UsageError(f"{flag} {value:g}: it must be above 0, and finite")


def iso(seconds: float | None) -> str | None:
    """Seconds since 1970 → 2026-11-26T03:35:12Z; None for what is no time of a calendar."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None


def parse_since(text: str, now: float, command: str = "status") -> float:
    """`30s`, `90m`, `3h`, `2d` or `1w` before now, or a time of ISO 8601, without a zone in local time."""
    if match := _AGO.fullmatch(text.strip()):
        return now - float(match[1]) * _SECONDS[match[2]]
    try:
        return datetime.fromisoformat(text.strip().replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        what = f"--since {text}: neither an age such as 3h or 2d, nor a date such as 2026-11-20"
        raise UsageError(what, "", f"gpujob {command} --since 2d") from None
