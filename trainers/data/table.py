"""Small tables of labelled rows, as data of a simple classifier. Standard library only."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainers.data import splits


@dataclass(frozen=True)
class Example:
    """One row: `id` is its name for users, `values` are its features.

    Rows of the same `group` (a person, a plant) are in one split; give each row its own group if all are
    independent.
    """

    id: str
    label: str
    values: tuple[float, ...]
    group: str

    @property
    def content(self) -> str:
        """The values as text; equal rows have equal contents."""
        return repr(self.values)


@dataclass(frozen=True)
class Table:
    """Rows by split, as `Trainer.load` returns them."""

    splits: Mapping[str, Sequence[Example]]
    refused: tuple[Any, ...] = ()

    @classmethod
    def split(cls, rows: Sequence[Example], seed: int, val_share: float, test_share: float) -> "Table":
        """Assign whole groups to splits, stratified by label, as splits.by_actor does."""
        labels = {row.group: row.label for row in sorted(rows, key=lambda row: row.id)}
        split_of = splits.by_actor(labels, seed, val_share, test_share)
        return cls({name: [row for row in rows if split_of[row.group] == name] for name in splits.SPLITS})

    @property
    def records(self) -> list[Example]:
        """All rows."""
        return [row for rows in self.splits.values() for row in rows]

    @property
    def fingerprint(self) -> str:
        """A hash of all rows and their splits."""
        splits = self.splits.items()
        lines = [f"{name} {row.id} {row.label} {row.values}" for name, rows in splits for row in rows]
        return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def listing(self) -> "Table":
        """`self`: the table is its own listing."""
        return self

    def report(self) -> dict[str, Any]:
        """The `data` of the check's report."""
        names = sorted({row.label for row in self.records})
        rows = [
            [name, *(str(sum(row.label == name for row in rows)) for rows in self.splits.values())]
            for name in names
        ]
        table = {"title": "Rows by class", "columns": ["class", *self.splits], "rows": rows}
        return {"samples": len(self.records), "used": len(self.records), "refused": [], "tables": [table]}
