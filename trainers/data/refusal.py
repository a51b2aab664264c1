"""What is not used of somebody's data, and why. Standard library only."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainers.engine import health


class Unusable(Exception):
    """A file that cannot be used: the reason, its particulars, the code of the rule."""

    def __init__(self, reason: str, detail: str = "", code: str = "schema.keys") -> None:
        super().__init__(told(reason, detail))
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


class Reasoned:
    """For what has a `reason` and a `detail`."""

    reason: str
    detail: str

    @property
    def why(self) -> str:
        """The reason with its particulars."""
        return told(self.reason, self.detail)


def told(reason: str, detail: str) -> str:
    """Both, as a person reads them."""
    return f"{reason}: {detail}" if detail else reason
