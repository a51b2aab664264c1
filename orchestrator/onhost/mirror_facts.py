"""Reads how far the copy of a run's results to S3 is (mirror.py)."""

from __future__ import annotations

from typing import Any

from orchestrator.onhost import files, processes


def read(path: str) -> dict[str, Any] | None:
    """Returns what mirror.json says, without its lists; None for a run that is not copied.

    A process that ended before it was done is reported as an `error`.
    """
    value = files.load_json(path)
    if value is None:
        return None
    shown = {name: value.get(name) for name in ("state", "error", "place", "count", "bytes")}
    process, boot = value.get("process"), value.get("boot")
    is_alive = isinstance(process, dict) and processes.is_alive(process, str(boot))
    if shown["state"] == "copying" and not is_alive:
        shown["error"] = "the process that copies has ended"
    return shown
