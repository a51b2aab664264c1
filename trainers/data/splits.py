"""Names of splits, and the assignment of samples to splits by actor and seed. Standard library only.

One vocabulary holds for files, folders and columns of all trainers.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

from trainers.data.refusal import Unusable
from trainers.engine import health
from trainers.engine.config import option
from trainers.engine.health import Finding

SPLITS = ("train", "val", "test")

VOCABULARY: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {"train": ("train", "training", "trainset", "trn")},
    "val": {
        "val": ("val", "valid", "validation", "validate", "valset", "validset"),
        "dev": ("dev", "devel", "development", "devset"),
        "eval": ("eval", "evaluation", "evalset"),
        "publictest": ("publictest",),
    },
    "test": {
        "test": ("test", "testing", "tests", "testset", "tst", "holdout"),
        "privatetest": ("privatetest",),
    },
}
"""Each split to its kinds of names, and these to their spellings; publictest and privatetest are FER2013's.

Data that uses two kinds for one split, such as `dev` and `eval`, may mean two splits and is refused.
"""

OPTION: str = option(
    "use", "splits that folders, files or columns name; ignore: draw all anew", choices=("use", "ignore")
)
"""The option `named_splits` of trainers whose data may name splits."""

_KINDS = {
    word: (split, kind)
    for split, kinds in VOCABULARY.items()
    for kind, words in kinds.items()
    for word in words
}


def _kinds(name: str) -> set[tuple[str, str]]:
    return {_KINDS[word] for word in re.findall("[a-z]+", name.lower()) if word in _KINDS}


def named(name: str) -> str:
    """The split that a word (such as `validation`) in a name means; empty if none or several are named."""
    of_name = {split for split, _ in _kinds(name)}
    return of_name.pop() if len(of_name) == 1 else ""


def of_path(path: str) -> str:
    """The split that the folders and the file name of a relative path mean, or an empty string.

    Raises Unusable if they mean different splits, or if only a name of several splits is there.
    """
    parts = [*PurePath(path).parts[:-1], PurePath(path).stem]
    of_name = {named(part) for part in parts} - {""}
    if len(of_name) > 1:
        raise Unusable("is in the folder of another split", f"{path}: move or rename it", "labels.parse")
    several = [part for part in parts if len({split for split, _ in _kinds(part)}) > 1]
    if not of_name and several and several[-1] == parts[-1]:
        raise Unusable("names several splits", f"{path}: rename it", "labels.parse")
    return next(iter(of_name), "")


def to_draw(named: Mapping[str, str], ignore: bool, test_share: float) -> tuple[set[str], float]:
    """The ids whose split is drawn, and the share of test: those that name none, or all with `ignore`.

    If train and test are named but val is not, val is drawn from train.
    """
    written_splits = set(named.values()) - {""}
    if ignore:
        return set(named), test_share
    if written_splits == {"train", "test"}:
        return {id for id, split in named.items() if split != "test"}, 0.0
    return {id for id, split in named.items() if not split}, test_share


def findings(names: Iterable[str], named: Sequence[tuple[str, str]], noun: str) -> list[Finding]:
    """Errors if `names` (of files, folders or column values) are ambiguous, or name a split for some only.

    `named` holds for each sample the split that it names, or an empty string, and the split that it is in.
    """
    kinds = {pair for name in names for pair in _kinds(name)}
    result = []
    for split in SPLITS:
        words = sorted(kind for of, kind in kinds if of == split)
        if len(words) > 1:
            message = f"the data has samples of {' and of '.join(words)}, which both mean {split}"
            result.append(health.error("split.named", message, "name the splits train, val and test"))
    moved = sum(split not in ("", actual) for split, actual in named)
    samples = Counter(split for split, _ in named)
    unnamed, written_splits = samples[""], {split: samples[split] for split in SPLITS if samples[split]}
    if moved and set(written_splits) != {"train", "test"}:
        message = f"{moved} {noun} are in another split than the one that folders or files name"
        return [health.info("split.named", message, "nothing, if the options are meant to draw them anew")]
    if unnamed and written_splits:
        counts = ", ".join(f"{n} are of {split}" for split, n in written_splits.items())
        message = f"{unnamed} {noun} name no split, but {counts}"
        fix = "name the split of each by folder or file name, or set named_splits: ignore to draw all anew"
        result.append(health.error("split.named", message, fix, "named_splits"))
    return result


def moved(ids: Sequence[str], split_of: Mapping[str, str], again: Mapping[str, str]) -> list[Finding]:
    """An error if records have another split in `again`, which was made from another order of them."""
    away = [id for id in ids if again[id] != split_of[id]]
    if not away:
        return []
    message = f"{len(away)} records change their split with the order of the listing: {health.first(away)}"
    return [health.error("split.stable", message, "a split is a function of names, content and seed alone")]


def _rank(seed: int, actor: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{actor}".encode("utf-8", "surrogateescape"), digest_size=16).digest()


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
        for index, actor in enumerate(members):
            split_of[actor] = "test" if index < first else "val" if index < first + second else "train"
    return split_of


def _count(share: float, members: int) -> int:
    least = 1 if share > 0 and members >= 3 else 0
    return max(least, round(share * members))
