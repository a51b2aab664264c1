"""events.jsonl → typed events (docs/contract.md). What cannot be read is counted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec


class Base(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """`t`: seconds since 1970."""

    v: int = 1
    t: float = 0.0


class Start(Base, frozen=True, kw_only=True, tag="start"):
    """An attempt begins; `steps` are the optimizer steps of the whole run."""

    trainer: str | None = None
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    parameters: int | None = None
    device: str | None = None
    world_size: int = 1
    steps: int | None = None
    epochs: int | None = None
    resumed_from: int | None = None


class Progress(Base, frozen=True, kw_only=True, tag="progress"):
    """`rate`: samples a second."""

    phase: str = "train"
    epoch: float | None = None
    epochs: float | None = None
    step: int | None = None
    of: int | None = None
    rate: float | None = None
    loss: float | None = None
    lr: float | None = None


class Metrics(Base, frozen=True, kw_only=True, tag="metrics"):
    """`confusion`: rows are the truth, in the order of `classes`."""

    split: str = ""
    epoch: float | None = None
    step: int | None = None
    values: dict[str, float | None] = msgspec.field(default_factory=dict)
    classes: list[str] | None = None
    confusion: list[list[float]] | None = None


class Checkpoint(Base, frozen=True, kw_only=True, tag="checkpoint"):
    path: str = ""
    step: int | None = None
    best: bool = False
    metric: str | None = None
    value: float | None = None


class Health(Base, frozen=True, kw_only=True, tag="health"):
    rule: str = ""
    severity: str = "warning"
    seen: str = ""
    action: str = ""


class Warned(Base, frozen=True, kw_only=True, tag="warning"):
    message: str = ""


class End(Base, frozen=True, kw_only=True, tag="end"):
    status: str = ""
    step: int | None = None
    message: str = ""
    code: int | None = None


Event = Start | Progress | Metrics | Checkpoint | Health | Warned | End


@dataclass(frozen=True)
class Account:
    """The events of some lines, in order, and how many lines were no event."""

    events: tuple[Event, ...]
    skipped: int


def parse(lines: Iterable[str]) -> Account:
    """Unknown fields are ignored; a line of no known event is counted. NaN and Infinity may stand in it."""
    events: list[Event] = []
    skipped = 0
    for line in lines:
        if not line.strip():
            continue
        try:
            events.append(msgspec.convert(json.loads(line), type=Event, strict=False))
        except (ValueError, RecursionError, msgspec.ValidationError):
            skipped += 1
    return Account(tuple(events), skipped)


def last(events: Iterable[Event], kind: type[Any]) -> Any:
    """The last event of a kind, or None."""
    found = None
    for event in events:
        if isinstance(event, kind):
            found = event
    return found
