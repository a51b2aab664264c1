"""Published actor-independent folds of RAVDESS and CREMA-D. Standard library only.

mae: the folds of MAE-DFER (Sun et al. 2023), SVFAP and HiCMAE (ranges of actor numbers). lj: the folds of
Luna-Jimenez et al. 2021, "Multimodal Emotion Recognition on RAVDESS Dataset Using Transfer Learning".
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

from trainers.data import splits


def _runs(first: int, sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    ends = list(accumulate(sizes, initial=first))
    return tuple(tuple(range(a, b)) for a, b in pairwise(ends))


FOLDS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "crema-mae5": _runs(1001, (18, 18, 18, 18, 19)),
    "ravdess-mae6": _runs(1, (4,) * 6),
    "ravdess-lj5": (
        (2, 5, 14, 15, 16),
        (3, 6, 7, 13, 18),
        (10, 11, 12, 19, 20),
        (8, 17, 21, 23, 24),
        (1, 4, 9, 22),
    ),
}
"""Name of a set of folds to the actor numbers of each fold."""


def count(names: str) -> int:
    """The number of folds of `A` or `A+B`; for `A+B` the smaller of both."""
    return min(len(FOLDS[name]) for name in names.split("+"))


def test_actors(names: str, fold: int) -> frozenset[str]:
    """The test actors of a fold (counted from 1), as `dataset-number`."""
    return frozenset(
        f"{name.partition('-')[0]}-{actor:04d}" if name.startswith("crema") else f"ravdess-{actor:02d}"
        for name in names.split("+")
        for actor in FOLDS[name][fold - 1]
    )


def by_fold(
    actors: Mapping[str, str], names: str, fold: int, seed: int, val: float, test: float
) -> dict[str, str]:
    """Assign actors to splits; `actors` maps each to its stratum, as in splits.by_actor.

    For data sets with folds in `names`, the test actors are those of the fold, and val is drawn from the
    others. Other data sets are split by seed.
    """
    covered = tuple(f"{name.partition('-')[0]}-" for name in names.split("+"))
    chosen = test_actors(names, fold)
    named = {actor: where for actor, where in actors.items() if actor.startswith(covered)}
    others = {actor: where for actor, where in actors.items() if actor not in named}
    left = {actor: where for actor, where in named.items() if actor not in chosen}
    home = splits.by_actor(others, seed, val, test) | splits.by_actor(left, seed, val, 0.0)
    return home | dict.fromkeys((actor for actor in named if actor in chosen), "test")
