"""events.jsonl → typed events (docs/contract.md); what cannot be read is skipped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from orchestrator.core.decode import Count, Seconds


class Base(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """`t`: seconds since 1970. `v`: version of the format; 1 named Health.message `seen`."""

    v: int = 1
    t: Seconds = 0.0


class Start(Base, frozen=True, kw_only=True, tag="start"):
    """An attempt begins."""

    resumed_from: Count | None = None


class Progress(Base, frozen=True, kw_only=True, tag="progress"):
    phase: str = "train"
    epoch: float | None = None
    step: Count | None = None
    of: Count | None = None
    loss: float | None = None


class Metrics(Base, frozen=True, kw_only=True, tag="metrics"):
    split: str = ""
    values: dict[str, float | None] = {}


class Checkpoint(Base, frozen=True, kw_only=True, tag="checkpoint"):
    step: Count | None = None


class Health(Base, frozen=True, kw_only=True, tag="health"):
    rule: str = ""
    severity: str = "warning"
    message: str = ""


class Warned(Base, frozen=True, kw_only=True, tag="warning"):
    message: str = ""


class End(Base, frozen=True, kw_only=True, tag="end"):
    status: str = ""


Event = Start | Progress | Metrics | Checkpoint | Health | Warned | End
E = TypeVar("E", bound=Base)


def parse(lines: Iterable[object]) -> tuple[Event, ...]:
    """Lines of JSON, or objects that were parsed already. Unknown fields and unknown events are skipped."""
    return tuple(event for line in lines if (event := _event(line)) is not None)


def _event(line: object) -> Event | None:
    """NaN and Infinity may occur in a line, as Python writes them."""
    try:
        value = json.loads(line) if isinstance(line, str) else line
        if isinstance(value, dict) and "seen" in value:
            value = {"message": value["seen"], **value}
        event: Event = msgspec.convert(value, type=Event, strict=False)
        return event
    except (ValueError, RecursionError, msgspec.ValidationError):
        return None


def last(events: Iterable[Event], kind: type[E]) -> E | None:
    """The last event of a kind."""
    return next((event for event in reversed(tuple(events)) if isinstance(event, kind)), None)
