"""JSON files that a reader sees whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any


def replace(path: str, value: dict[str, Any], mode: int = 0o600) -> None:
    """The object as the file's content; see `put`."""
    put(path, json.dumps(value), mode)


def put(path: str, text: str, mode: int) -> None:
    """Write beside, fsync, rename: readers see the old file or the new one, never half.

    OSError leaves the old one, and nothing beside it.
    """
    temporary = "%s.%d.tmp" % (path, os.getpid())
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def load(path: str) -> dict[str, Any] | None:
    """The object in `path`; None where there is no file, or none that is a JSON object."""
    try:
        with open(path, encoding="utf-8") as handle:
            value = json.load(handle)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
