"""What a checkpoint was trained on, and which samples of other data that leaves for a test."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from trainers.engine import health
from trainers.engine.checkpoint import Checkpoint
from trainers.engine.health import DataUnusable
from trainers.engine.task import Task

KEY = "trained_on"

S = TypeVar("S")


def _hash(unit: str) -> str:
    return hashlib.blake2b(unit.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


def units(task: Task) -> list[str]:
    """Hashes of the units of train and val, for the manifest."""
    return sorted({_hash(unit) for split in ("train", "val") for unit in task.units(split)})


def unseen(
    held: Checkpoint, data: str, split: str, samples: Sequence[S], unit: Callable[[S], str]
) -> tuple[list[S], dict[str, Any]]:
    """The samples of a split that count, and what evaluate tells of them; `data` is their fingerprint.

    Test samples of other data than the checkpoint's are left out where their unit stood in its train or val.
    Raises DataUnusable where none is left.
    """
    same = data == held.manifest["data"].partition("+")[0]
    told: dict[str, Any] = {"same_data": same}
    if same or split in ("train", "val"):
        return list(samples), told
    if KEY not in held.manifest:
        told["warning"] = "other data than the checkpoint's, which does not say what it was trained on"
        return list(samples), told
    known = set(held.manifest[KEY])
    seen = [_hash(unit(sample)) in known for sample in samples]
    if not any(seen):
        return list(samples), told
    names = sorted({unit(sample) for sample, there in zip(samples, seen, strict=True) if there})
    what = f"{sum(seen)} of {len(samples)} samples are of {health.first(names)}"
    what += ", which the checkpoint was trained on"
    if split == "all":
        return list(samples), {**told, "trained_on": sum(seen), "warning": f"{what}: they are counted too"}
    left = [sample for sample, there in zip(samples, seen, strict=True) if not there]
    if not left:
        raise DataUnusable([health.error("split.groups", what, "take others, or --split all")])
    return left, {**told, "left_out": sum(seen), "warning": f"{what}: they are left out"}
