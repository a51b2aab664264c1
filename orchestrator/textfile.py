"""Reading a text that a person wrote; one place that says why it cannot be read."""

from __future__ import annotations

from pathlib import Path

from orchestrator.core import shell
from orchestrator.errors import UsageError

_BOM = "\ufeff"


def read(path: Path, shown: str) -> str:
    """The UsageError says `shown` for the file, and names the line and the byte at fault."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error}") from None
    try:
        return raw.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        guess = "UTF-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "ISO-8859-1"
        raise UsageError(
            f"{shown}:{line} cannot be read: it is no UTF-8 text",
            f"byte 0x{raw[error.start]:02x} at offset {error.start}",
            f"save it as UTF-8; of {guess}: iconv -f {guess} -t UTF-8 {shell.join([str(path)])}",
        ) from None
