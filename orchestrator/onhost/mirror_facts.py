"""Reads how far the copy of a run's results to S3 is (mirror.py)."""

from __future__ import annotations

from typing import TypedDict

from orchestrator.onhost import files, processes, records


class MirrorFacts(TypedDict):
    """`state`: copying, complete or failed. `place`: the address. `count`, `bytes`: of the copied files."""

    state: str | None
    error: str | None
    place: str | None
    count: int | None
    bytes: int | None


def read(path: str) -> MirrorFacts | None:
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
