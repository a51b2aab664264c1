"""The lines that an operation of the helper, such as an installation, prints to its log meanwhile."""

from __future__ import annotations

import contextlib
from typing import Any, Mapping

from orchestrator.core.layout import Layout
from orchestrator.onhost import files
from orchestrator.onhost.errors import Refused

_BYTES = 1 << 16  # of a log that one message carries
_OPERATIONS = ("ensure_environment", "ensure_image")


class PrintedLines:
    """What an operation has printed since the last look."""

    def __init__(self, layout: Layout, request: Mapping[str, Any]) -> None:
        self._path = ""
        with contextlib.suppress(KeyError, TypeError, ValueError, Refused):
            if request["op"] in _OPERATIONS:
                self._path = layout.environment_log(request["key"])
            elif request["op"] == "fetch_s3":
                from orchestrator.onhost import s3_data  # noqa: PLC0415 - the operation loads it, too

                self._path = s3_data.log_path(layout, request["name"], request["fingerprint"])
        self._offset = files.size(self._path)
        self._rest = b""

    def lines(self) -> list[str]:
        """Returns the latest of them, at most 50."""
        size = files.size(self._path)
        if size < self._offset:  # it was begun anew
            self._offset, self._rest = 0, b""
        block = files.last_bytes(self._path, min(size - self._offset, _BYTES)) if size else b""
        self._offset = size
        *complete, self._rest = (self._rest + block).split(b"\n")
        return [line.decode(errors="replace") for line in complete[-50:]]
