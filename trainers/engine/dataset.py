"""The types of a trainer's data: what `Trainer.load` returns, and its records."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Record(Protocol):
    """One sample of a split, before its content is loaded."""

    @property
    def id(self) -> str:
        """The name by which a user finds the sample (file name, or file:line)."""
        ...

    @property
    def group(self) -> str:
        """The actor or picture whose samples must be in one split; the id if samples are independent."""
        ...


class Dataset(Protocol):
    """The type that `load` returns. trainers/data/table.py implements it for small tables."""

    @property
    def splits(self) -> Mapping[str, Sequence[Any]]:
        """`train`, `val` and `test` to their records, each in a fixed order; `test` may be empty."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of the content, labels and splits of all usable samples; a resumed run compares it.

        `evaluate` ignores the part after a `+` when it compares data with a checkpoint's.
        """
        ...

    @property
    def listing(self) -> Any:
        """The argument of the checks of the tier `files`.

        It has `records` (the usable ones), `refused`, and `report()`, which returns the `data` of the report.
        """
        ...
