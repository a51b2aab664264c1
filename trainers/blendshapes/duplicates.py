"""Rows with equal values: in two splits, with two labels, or several times in one. Standard library only."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainers.blendshapes.files import Row
from trainers.data import refusal_checks, splits
from trainers.data.refusal import Refusal

SHOWN = 100
"""Maximum number of rows in the table of equal faces."""


@dataclass(frozen=True)
class EqualFaces:
    """Rows with the same values, in two splits (`across`) or with two labels (`contradictory`)."""

    rows: tuple[Row, ...]
    across: bool
    contradictory: bool

    @property
    def names(self) -> str:
        """The rows' ids, joined by an equals sign."""
        return " = ".join(row.id for row in self.rows)


def find(rows: Sequence[Row], split_of: Mapping[str, str]) -> list[EqualFaces]:
    """All groups of equal rows that are in two splits or have two labels, those of train first."""
    members: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: splits.SPLITS.index(split_of[row.id])):
        members[row.content].append(row)
    equal_groups = []
    for equal in members.values():
        across = len({split_of[row.id] for row in equal}) > 1
        contradictory = len({row.label for row in equal}) > 1
        if across or contradictory:
            equal_groups.append(EqualFaces(tuple(equal), across, contradictory))
    return equal_groups


def repeated(rows: Sequence[Row], split_of: Mapping[str, str]) -> dict[str, list[str]]:
    """The ids of each split's rows that have values and label of an earlier row of it."""
    earlier: set[tuple[str, str, str]] = set()
    repeats: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        key = split_of[row.id], row.content, row.label
        if key in earlier:
            repeats[key[0]].append(row.id)
        earlier.add(key)
    return repeats


def nearly_equal(rows: Sequence[Row], split_of: Mapping[str, str]) -> list[str]:
    """The ids of rows in two splits that agree to two decimals and are not equal: one face, rounded anew."""
    earlier: dict[tuple[int, ...], Row] = {}
    pairs = []
    for row in sorted(rows, key=lambda row: splits.SPLITS.index(split_of[row.id])):
        other = earlier.setdefault(tuple(int(100 * value + 0.5) for value in row.values), row)
        if split_of[other.id] != split_of[row.id] and other.content != row.content:
            pairs.append(f"{other.id} ~ {row.id}")
    return pairs


def to_drop(equal_groups: Sequence[EqualFaces], split_of: Mapping[str, str]) -> list[Refusal]:
    """The rows that `duplicates: drop` leaves out, as refusals.

    Test keeps its rows. Of rows in two splits, those of train go first, then those of val; with two labels,
    all of train and val go.
    """
    dropped = []
    for equal in equal_groups:
        last = max((split_of[row.id] for row in equal.rows), key=splits.SPLITS.index)
        for row in equal.rows:
            split = split_of[row.id]
            if split != "test" if equal.contradictory else split != last:
                reason = "has the values of a row with another label"
                if not equal.contradictory:
                    reason = f"has the values of a row of {last}"
                dropped.append(Refusal(str(row.path), "dups", reason, equal.names, line=row.line))
    return dropped


def table(equal_groups: Sequence[EqualFaces], split_of: Mapping[str, str]) -> list[dict[str, Any]]:
    """A table of every row of these groups; none if there are no groups."""
    cells = [
        [str(number), row.id, split_of[row.id], row.label]
        for number, equal in enumerate(equal_groups, 1)
        for row in equal.rows
    ]
    if len(cells) > SHOWN:
        cells = [*cells[:SHOWN], ["", f"and {len(cells) - SHOWN} more rows", "", ""]]
    columns = ("face", "row", "split", "emotion")
    return (
        [refusal_checks.table("Equal faces in two splits or with two labels", columns, cells)]
        if cells
        else []
    )
