"""The events and reports of a trainer, typed (docs/contract.md). Events that cannot be read are skipped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from orchestrator.core import decode, jsontext
from orchestrator.core.decode import Count, Seconds


class Base(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """`t`: seconds since 1970. `v`: version of the format."""

    v: int = 1
    t: Seconds = 0.0


class Start(Base, frozen=True, kw_only=True, tag="start"):
    """An attempt begins."""

    resumed_from: Count | None = None


class Progress(Base, frozen=True, kw_only=True, tag="progress"):
    """`of_epoch`: step and `of` are of one epoch. `left`: seconds to the end, as a bar in the log says."""

    phase: str = "train"
    epoch: float | None = None
    epochs: Count | None = None
    step: Count | None = None
    of: Count | None = None
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    left: Seconds | None = None
    of_epoch: bool = False


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
_DECODER = msgspec.json.Decoder(Event, strict=False)
_KINDS: dict[object, type[Event]] = {
    kind.__struct_config__.tag: kind for kind in (Start, Progress, Metrics, Checkpoint, Health, Warned, End)
}


def parse(lines: Iterable[object]) -> tuple[Event, ...]:
    """Lines of JSON, or objects that were parsed already. Unknown fields and unknown events are skipped."""
    return tuple(event for line in lines if (event := _event(line)) is not None)


def _event(line: object) -> Event | None:
    """A field that is missing or cannot be used has its default."""
    try:
        if isinstance(line, str) and '"seen"' not in line and "\\" not in line:
            event: Event = _DECODER.decode(line)
            return event
    except (msgspec.DecodeError, RecursionError, ValueError):
        pass  # most lines are decoded at once; the others field by field, at a tenth of the speed
    try:
        value = jsontext.parse(line) if isinstance(line, str) else line
    except jsontext.BadJson:
        return None
    kind = _KINDS.get(str(value.get("event"))) if isinstance(value, dict) else None
    return decode.struct(decode.one_line(_current(value)), kind, strict=False) if kind else None


def last(events: Iterable[Event], kind: type[E]) -> E | None:
    """The last event of a kind."""
    return next((event for event in reversed(tuple(events)) if isinstance(event, kind)), None)


class Finding(msgspec.Struct, frozen=True):
    """`code` is stable; `fix` says what to do; `key` names the option at fault."""

    code: str
    severity: str
    message: str
    fix: str = ""
    key: str | None = None


class RefusedFile(msgspec.Struct, frozen=True):
    file: str
    why: str


class Table(msgspec.Struct, frozen=True):
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


class DataReport(msgspec.Struct, frozen=True):
    """Numbers of samples."""

    samples: int = 0
    used: int = 0
    refused: tuple[RefusedFile, ...] = ()
    tables: tuple[Table, ...] = ()


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """`tier`: the depth of the check (config, files, full). `packages`: what the trainer imports besides what
    every trainer does. `paths`: its options that are data folders. `unusable`: not one sample can be used."""

    v: int = 1
    event: str = "report"
    trainer: str = ""
    packages: tuple[str, ...] = ()
    tier: str = "full"
    seconds: float = 0.0
    config: dict[str, Any] = {}
    paths: tuple[str, ...] = ()
    findings: tuple[Finding, ...]
    checked: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    data: DataReport | None = None
    unusable: bool = False

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "error"]


def find_report(lines: list[str]) -> CheckReport | None:
    """The report among the lines that `python -m trainers check` printed."""
    for line in reversed(lines):
        try:
            value = jsontext.parse_object(line)
        except jsontext.BadJson:
            continue
        if value.get("event") == "report":
            return parse_report(value)
    return None


def parse_report(value: object) -> CheckReport | None:
    """None where any part cannot be read: an error that cannot be read must not pass for none."""
    if not isinstance(value, dict) or not isinstance(value.get("findings"), list):
        return None
    findings = [_current(finding) for finding in value["findings"]]
    data = value.get("data")
    if isinstance(data, dict) and "found" in data:  # the name of `samples` before version 3
        data = {"samples": data["found"], **data}
    return decode.exact({**value, "findings": findings, "data": data}, CheckReport)


def _current(value: object) -> object:
    """Version 1 of the format named the message of an event and of a finding `seen`."""
    if isinstance(value, dict) and "seen" in value:
        return {"message": value["seen"], **value}
    return value
