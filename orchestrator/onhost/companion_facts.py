"""Reads what the companions of a run have recorded: its alerts, and the copy of its results to S3."""

from __future__ import annotations

from typing import TypedDict

from orchestrator.core.jsontext import Object
from orchestrator.onhost import files, processes, records

_ALERTS = 100  # number of latest deliveries that are returned


class AlertFacts(TypedDict):
    """A delivery of alerts.json, without the alert's text."""

    event: str | None
    channel: str | None
    title: str | None
    t: float | None
    state: str | None
    attempts: int | None
    error: str | None


class MirrorFacts(TypedDict):
    """`state`: copying, complete or failed. `place`: the address. `count`, `bytes`: of the copied files."""

    state: str | None
    error: str | None
    place: str | None
    count: int | None
    bytes: int | None


def read_alerts(path: str) -> list[AlertFacts]:
    """Returns what alerts.json says of each delivery, without the alert's text."""
    deliveries = (files.load(path) or Object()).children("deliveries")
    return [
        {
            "event": one.text("event"),
            "channel": one.text("channel"),
            "title": one.text("title"),
            "t": one.number("t"),
            "state": one.text("state"),
            "attempts": one.integer("attempts"),
            "error": one.text("error"),
        }
        for one in deliveries[-_ALERTS:]
    ]


def read_mirror(path: str) -> MirrorFacts | None:
    """Returns what mirror.json says, without its lists; None for a run that is not copied.

    A process that ended before it was done is reported as an `error`.
    """
    value = files.load(path)
    if value is None:
        return None
    state, error = value.text("state"), value.text("error")
    process = records.identity(value.child("process"))
    if state == "copying" and not processes.is_alive(process, value.text("boot")):
        error = "the process that copies has ended"
    return {
        "state": state,
        "error": error,
        "place": value.text("place"),
        "count": value.integer("count"),
        "bytes": value.integer("bytes"),
    }
