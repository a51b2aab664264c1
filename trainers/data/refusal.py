"""What cannot be used of somebody's data, and why. Standard library only."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from trainers.engine import health


class Unusable(Exception):
    """A file that cannot be used: the reason, its particulars, the code of the rule."""

    def __init__(self, reason: str, detail: str = "", code: str = "schema.keys") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail, self.code = reason, detail, code


class Unread(health.DataUnusable):
    """The system gave no content, which says nothing of the file: a run stops, and keeps nothing of it."""

    def __init__(self, path: Path | str, why: str) -> None:
        fix = "see to disk, rights and memory, then start again"
        super().__init__([health.error("files.read", f"{path} could not be read: {why}", fix)])
        self.why = why


@contextmanager
def read_or_stop(path: Path | str) -> Iterator[None]:
    """Turns errors of the file system and of memory into Unread. What reads content in here keeps them apart
    from verdicts on it, which are Unusable."""
    try:
        yield
    except (OSError, MemoryError) as fault:
        raise Unread(path, getattr(fault, "strerror", None) or str(fault) or "out of memory") from fault


@dataclass(frozen=True)
class Refusal:
    """A file, row or sentence that is not used; `source` is a path or a sentence's id, `line` that of a row.

    `broken` ones count against max_refused; others were left out by an option.
    """

    source: str
    code: str
    reason: str
    detail: str = ""
    broken: bool = True
    line: int = 0

    @classmethod
    def of(cls, source: Path | str, fault: Unusable) -> "Refusal":
        """From the exception that a reader raised."""
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
    def place(self) -> str:
        """The source in full, and the line."""
        return f"{self.source}:{self.line}" if self.line else self.source

    @property
    def why(self) -> str:
        """The reason with its particulars."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class Reason(NamedTuple):
    """A reason for which something was refused, how often, and the first refusal."""

    text: str
    times: int
    first: Refusal


def reasons(refused: Sequence[Refusal]) -> list[Reason]:
    """The commonest first."""
    counts = Counter(refusal.reason for refusal in refused)
    first = {refusal.reason: refusal for refusal in reversed(refused)}
    return [Reason(text, count, first[text]) for text, count in counts.most_common()]
