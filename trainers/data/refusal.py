"""Refusals: which files, rows or sentences cannot be used, and why. Standard library only."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from trainers.engine import health


class Unusable(Exception):
    """A file cannot be used: reason, detail, and code of the rule."""

    def __init__(self, reason: str, detail: str = "", code: str = "schema.keys") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail, self.code = reason, detail, code


class Unread(health.DataUnusable):
    """The system could not read a file (disk, rights, memory). The run stops instead of refusing the file."""

    def __init__(self, path: Path | str, why: str) -> None:
        fix = "check the disk, permissions and memory, then start again"
        super().__init__([health.error("files.read", f"{path} could not be read: {why}", fix)])
        self.why = why


@contextmanager
def read_or_stop(path: Path | str) -> Iterator[None]:
    """Context manager that turns OSError and MemoryError into Unread.

    Use it around reading a file, so that errors of the system differ from bad content (Unusable).
    """
    try:
        yield
    except (OSError, MemoryError) as fault:
        raise Unread(path, getattr(fault, "strerror", None) or str(fault) or "out of memory") from fault


@dataclass(frozen=True)
class Refusal:
    """A file, row or sentence that is not used; `source` is a path or sentence id, `line` the line of a row.

    If `broken`, it counts against max_refused; otherwise an option excludes it.
    """

    source: str
    code: str
    reason: str
    detail: str = ""
    broken: bool = True
    line: int = 0

    @classmethod
    def of(cls, source: Path | str, fault: Unusable) -> "Refusal":
        """Create a refusal from the exception that a reader raised."""
        return cls(str(source), fault.code, fault.reason, fault.detail)

    @property
    def path(self) -> Path:
        """The source as a path."""
        return Path(self.source)

    @property
    def name(self) -> str:
        """The short name for a message: a file's name without its folder, and the line."""
        return f"{self.path.name}:{self.line}" if self.line else self.path.name

    @property
    def location(self) -> str:
        """The full source, and the line."""
        return f"{self.source}:{self.line}" if self.line else self.source

    @property
    def why(self) -> str:
        """The reason with its detail."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class Reason(NamedTuple):
    """A reason for refusals, the number of refusals, and the first one."""

    text: str
    times: int
    first: Refusal


def reasons(refused: Sequence[Refusal]) -> list[Reason]:
    """The reasons of these refusals, the commonest first."""
    counts = Counter(refusal.reason for refusal in refused)
    first = {refusal.reason: refusal for refusal in reversed(refused)}
    return [Reason(text, count, first[text]) for text, count in counts.most_common()]
