"""Assigns samples to splits, by file name or by actor and seed. Standard library only."""

import hashlib
from collections.abc import Mapping

SPLITS = ("train", "val", "test")


def named(name: str) -> str:
    """The split named by a word (such as `validation`) in a file's or folder's name, or an empty string."""
    words = name.lower().replace("-", "_").replace(".", "_").split("_")
    for split, also in zip(SPLITS, ("training", "validation", "testing"), strict=True):
        if split in words or also in words:
            return split
    return ""


def _rank(seed: int, actor: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{actor}".encode(), digest_size=16).digest()


def by_actor(actors: Mapping[str, str], seed: int, val: float, test: float) -> dict[str, str]:
    """Assign each actor to a split, as a pure function of names and seed.

    `actors` maps each actor to its stratum (data set, sex). Of every stratum, the fractions `val` and `test`
    go to these splits: at least one actor if the stratum has three.
    """
    split_of: dict[str, str] = {}
    for stratum in sorted(set(actors.values())):
        members = [actor for actor, where in actors.items() if where == stratum]
        members.sort(key=lambda actor: _rank(seed, actor))
        first, second = (_count(share, len(members)) for share in (test, val))
        for place, actor in enumerate(members):
            split_of[actor] = "test" if place < first else "val" if place < first + second else "train"
    return split_of


def _count(share: float, members: int) -> int:
    least = 1 if share > 0 and members >= 3 else 0
    return max(least, round(share * members))
