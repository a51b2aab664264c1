"""Prevents that a checkpoint is evaluated on samples whose group (such as the actor) it was trained on."""

import hashlib
from collections.abc import Sequence
from typing import Any, TypeVar

from trainers.engine import health
from trainers.engine.checkpoint import Checkpoint
from trainers.engine.health import DataUnusable
from trainers.engine.trainer import Trainer

KEY = "trained_on"

S = TypeVar("S")


def _hash(group: str) -> str:
    return hashlib.blake2b(group.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


def trained_on(trainer: Trainer) -> list[str]:
    """The sorted hashes of the groups in train and val; the checkpoint's manifest stores them."""
    return sorted({_hash(group) for split in ("train", "val") for group in trainer.groups(split)})


def untrained(
    saved: Checkpoint, fingerprint: str, split: str, samples: Sequence[S], groups: Sequence[str]
) -> tuple[list[S], dict[str, Any]]:
    """The samples of a split to evaluate, and facts for the report of `evaluate`.

    If the data is not the data of the training, samples of `test` are left out whose group was in the
    training's train or val. Raises DataUnusable if none remains.
    """
    same = fingerprint.partition("+")[0] == saved.manifest["data"].partition("+")[0]
    facts: dict[str, Any] = {"same_data": same}
    if same or split in ("train", "val"):
        return list(samples), facts
    if KEY not in saved.manifest:
        facts["warning"] = "not the training's data; the checkpoint does not list what it was trained on"
        return list(samples), facts
    known = set(saved.manifest[KEY])
    trained = [_hash(group) in known for group in groups]
    if not any(trained):
        return list(samples), facts
    names = sorted({group for group, known in zip(groups, trained, strict=True) if known})
    what = f"{sum(trained)} of {len(samples)} samples are of {health.first(names)}"
    what += ", which the checkpoint was trained on"
    if split == "all":
        return list(samples), {
            **facts,
            "trained_on": sum(trained),
            "warning": f"{what}: they are counted too",
        }
    rest = [sample for sample, known in zip(samples, trained, strict=True) if not known]
    if not rest:
        raise DataUnusable([health.error("split.groups", what, "take others, or --split all")])
    return rest, {**facts, "left_out": sum(trained), "warning": f"{what}: they are left out"}
