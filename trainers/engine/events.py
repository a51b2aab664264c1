"""Writes events (one JSON object per line, docs/contract.md) and prints to stdout and stderr.

Standard library only.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

VERSION = 3
"""Version of events and reports. In version 1 the `message` of a finding was named `seen`."""

LINE_LIMIT = 64 * 1024


def printable(text: str) -> str:
    """The text with undecodable bytes (surrogates from file names) written as `\\udcNN`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def say(text: str) -> None:
    """Print a line on stdout and flush."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Print a line on stderr and flush."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def jsonable(value: Any) -> Any:
    """The value with NaN and infinity replaced by None and every string printable, ready for JSON."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {jsonable(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


def line(event: str, fields: dict[str, Any], clock: Callable[[], float] = time.time) -> str:
    """One event as a JSON line without newline; long fields are cut to stay under LINE_LIMIT."""
    record = {"v": VERSION, "t": round(clock(), 3), "event": event, **jsonable(fields)}
    text = json.dumps(record, ensure_ascii=False)
    while len(text.encode()) >= LINE_LIMIT:
        widest = max(record, key=lambda key: len(str(record[key])))
        record[widest] = str(record[widest])[: LINE_LIMIT // 16] + " (cut)"
        text = json.dumps(record, ensure_ascii=False)
    return text


class Events:
    """Appends events to a file, one write each, or prints them on stdout if `path` is None."""

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._file: int | None = None
        if path is not None:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def __call__(self, event: str, **fields: Any) -> None:
        text = line(event, fields, self._clock)
        if self._file is None:
            say(text)
        else:
            os.write(self._file, text.encode() + b"\n")

    def close(self) -> None:
        """Close the file; no events may be written afterwards."""
        if self._file is not None:
            os.close(self._file)


class Silent(Events):
    """Discards all events: used by ranks above 0 and by trainings within checks."""

    def __init__(self) -> None:
        super().__init__(None)

    def __call__(self, event: str, **fields: Any) -> None:
        pass
