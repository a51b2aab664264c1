"""How long a box has run and rested, from the states it was seen in; what it cost by then. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from orchestrator.instances import pricing
from orchestrator.instances.pricing import Hourly, Table

RUNNING = ("pending", "running", "stopping", "shutting-down")
RESTING = ("stopped",)
ENDED = ("terminated",)
_WHEN = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)")
Box = dict[str, Any]


def begun(state: str, now: float) -> dict[str, Any]:
    """The fields of a new box: `since` when its `state` was last looked at, seconds it `ran` and `rested`."""
    return {"state": state, "since": now, "ran": 0.0, "rested": 0.0, "ended": None}


def living(boxes: Iterable[Box]) -> list[Box]:
    """Those that had not ended when they were last looked at."""
    return [box for box in boxes if box["state"] not in ENDED]


def observed(box: Box, state: str, now: float, reason: str = "") -> Box:
    """The box after it was seen in `state`; `reason`: EC2's StateTransitionReason, which has the time.

    Of a box that stopped unseen at a time that is not told, its deadline is the latest it can have been.
    """
    turned = now if state == box["state"] else changed(reason, box["since"], now)
    if turned is None:
        turned = min(now, max(box["since"], box["deadline"])) if state not in RUNNING else now
    new = dict(box)
    _add(new, box["state"], turned - box["since"])
    _add(new, state, now - turned)
    new |= {"state": state, "since": now}
    if state in ENDED and box.get("ended") is None:
        new["ended"] = turned
    return new


def _add(box: Box, state: str, seconds: float) -> None:
    if state in RUNNING:
        box["ran"] += seconds
    elif state in RESTING:
        box["rested"] += seconds


def changed(reason: str, earliest: float, latest: float) -> float | None:
    """The time in a StateTransitionReason, "User initiated (2026-11-21 09:00:00 GMT)"; None without one."""
    match = _WHEN.search(reason)
    if not match:
        return None
    from datetime import datetime, timezone  # noqa: PLC0415 - 5 ms that `status` seldom needs

    told = datetime.strptime(match.group(1), "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    when = told.timestamp()
    return min(max(when, earliest), latest)


def price(prices: Table, box: Box) -> Hourly:
    """Dollars an hour of this box; 0 for the machine where its price is not known."""
    return pricing.hourly(prices, box["usd_hour"] or 0.0, box["disk_gb"])


def cost(prices: Table, box: Box, now: float) -> float:
    """Dollars until now: what was seen, and the time since, as if nothing had changed but at its deadline."""
    at = box
    if box["state"] not in ENDED:
        late = box["state"] in RUNNING and _runs_until(box, now) < now
        at = observed(box, "stopped" if late else box["state"], now)
    return pricing.spent(price(prices, box), at["ran"], at["rested"])


def _runs_until(box: Box, now: float) -> float:
    """The latest that a box which was seen running can have run: its own switch ends it at its deadline.

    Of one that was seen to run on, and of one that is not ours, that is not said.
    """
    switched = box.get("managed", True) and box["since"] < box["deadline"]
    return min(now, box["deadline"]) if switched else now


def held(seen: dict[str, Any], until: float) -> float:
    """Seconds that a run has held its host, over all attempts, from the facts of onhost/look.py.

    One that was going when it was looked at is taken to have gone on `until` then.
    """
    state = seen.get("state") or {}
    used = float(state.get("used_seconds") or 0.0)
    going = state.get("ended") is None and seen.get("supervised")
    return used + (max(0.0, until - state["heartbeat"]) if going else 0.0)


def run_cost(prices: Table, box: Box, seen: dict[str, Any], now: float) -> float:
    """Dollars of the hours that a run has held this box."""
    until = _runs_until(box, now) if box["state"] in RUNNING else 0.0
    return pricing.spent(price(prices, box), held(seen, until))


def worst(prices: Table, box: Box, now: float) -> float:
    """Dollars until its deadline, if it runs till then."""
    left = max(0.0, box["deadline"] - now) if box["state"] in RUNNING else 0.0
    return cost(prices, box, now) + pricing.spent(price(prices, box), left)
