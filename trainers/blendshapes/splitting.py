"""Assigns rows to splits: as files, folders and columns say, else drawn for whole groups by seed.

Standard library only.
"""

import hashlib
from collections.abc import Mapping, Sequence

from trainers.blendshapes.config import Config
from trainers.blendshapes.files import Row
from trainers.data import splits


def split_rows(rows: Sequence[Row], config: Config) -> dict[str, str]:
    """Return the split of each row id: the one that the files name, else drawn by seed for whole groups.

    If the files name only train and test, the validation split is drawn from train.
    """
    home = {row.id: row.split for row in rows}
    free_ids, test = splits.to_draw(home, config.named_splits == "ignore", config.test_share)
    free = [row for row in rows if row.id in free_ids]
    units = _units(free)
    strata: dict[str, str] = {}
    for row in sorted(free, key=lambda row: row.label):  # a picture may have two labels
        strata.setdefault(units[row.id], "group" if row.person else row.label)
    drawn = splits.by_actor(dict(sorted(strata.items())), config.seed, config.val_share, test)
    return {**home, **{row.id: drawn[units[row.id]] for row in free}}


def _units(rows: Sequence[Row]) -> dict[str, str]:
    """Return for each row id the unit that is assigned to one split: the person, or all rows connected by a
    shared picture or equal values."""
    above: dict[str, str] = {}

    def top(key: str) -> str:
        while above.setdefault(key, key) != key:
            above[key] = above[above[key]]
            key = above[key]
        return key

    for row in rows:
        if not row.person:
            least, other = sorted((top(row.group), top(f"face {row.content}")))
            above[other] = least
    return {row.id: top(row.group) for row in rows}


def excess(rows: Sequence[Row], split_of: Mapping[str, str], config: Config) -> frozenset[str]:
    """The ids of the training rows beyond `max_per_class` of each class, by seed and content."""
    members: dict[str, list[Row]] = {}
    for row in rows:
        if config.max_per_class and split_of[row.id] == "train":
            members.setdefault(row.label, []).append(row)

    def rank(row: Row) -> bytes:
        text = f"{config.seed}/{row.content}/{row.id}"
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape")).digest()

    return frozenset(
        row.id for some in members.values() for row in sorted(some, key=rank)[config.max_per_class :]
    )


def by_split(rows: Sequence[Row], home: Mapping[str, str]) -> dict[str, list[Row]]:
    """Return the rows of each split, in their given order. `home` maps row ids to splits."""
    members: dict[str, list[Row]] = {split: [] for split in splits.SPLITS}
    for row in rows:
        members[home[row.id]].append(row)
    return members
