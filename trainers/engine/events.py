"""The run's own account: one JSON object a line (docs/contract.md), and the one way to stdout.

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

VERSION = 2
"""Of events and reports. In version 1 the `message` of a finding was named `seen`."""

LINE_LIMIT = 64 * 1024


def printable(text: str) -> str:
    """The text with what stands in a file name and is no UTF-8 as `\\udcNN`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def say(text: str) -> None:
    """One line on stdout, at once."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """One line on stderr, at once."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def jsonable(value: Any) -> Any:
    """The value with every number JSON cannot hold (NaN, infinity) as null, and every text printable."""
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
    """One event as a line without its newline, never longer than the contract allows."""
    record = {"v": VERSION, "t": round(clock(), 3), "event": event, **jsonable(fields)}
    text = json.dumps(record, ensure_ascii=False)
    while len(text.encode()) >= LINE_LIMIT:
        widest = max(record, key=lambda key: len(str(record[key])))
        record[widest] = str(record[widest])[: LINE_LIMIT // 16] + " (cut)"
        text = json.dumps(record, ensure_ascii=False)
    return text


class Events:
    """Writes events to a file (one append each) or, without one, to stdout."""

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
        """Nothing is written after this."""
        if self._file is not None:
            os.close(self._file)


class Silent(Events):
    """Events that nobody reads: of ranks above 0 and of the probes of `check`."""

    def __init__(self) -> None:
        super().__init__(None)

    def __call__(self, event: str, **fields: Any) -> None:
        pass
