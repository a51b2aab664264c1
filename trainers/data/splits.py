"""Splits by name, or by actor: a pure function of the actors' names and a seed. Standard library only."""

import hashlib
from collections.abc import Mapping

SPLITS = ("train", "val", "test")


def named(name: str) -> str:
    """The split that a word of a file's or folder's name says, or nothing."""
    words = name.lower().replace("-", "_").replace(".", "_").split("_")
    for split, also in zip(SPLITS, ("training", "validation", "testing"), strict=True):
        if split in words or also in words:
            return split
    return ""


def _rank(seed: int, actor: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{actor}".encode(), digest_size=16).digest()


def by_actor(actors: Mapping[str, str], seed: int, val: float, test: float) -> dict[str, str]:
    """Actor to split. `actors` maps each one to its stratum (data set, sex): every stratum gives
    its share to `val` and `test`, at least one actor where it has three."""
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
