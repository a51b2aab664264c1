"""Prevents that a checkpoint is evaluated on samples that it was trained on, or on others of their group."""

import hashlib
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeVar

from trainers.engine import health
from trainers.engine.checkpoint import Checkpoint
from trainers.engine.dataset import Dataset
from trainers.engine.health import DataUnusable
from trainers.engine.trainer import Trainer

KEY = "trained_on"

S = TypeVar("S")


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


def trained_on(trainer: Trainer) -> list[str]:
    """The sorted hashes of groups and contents in train and val; the checkpoint's manifest stores them."""
    known: set[str] = set()
    for split in ("train", "val"):
        known |= {_hash(health.group_key(group)) for group in trainer.groups(split)}
        known |= {_hash(content) for content in trainer.contents(split) if content}
    return sorted(known)


@dataclass(frozen=True)
class Marks:
    """What identifies a sample: its name for users, its group, and a hash of its content (may be empty)."""

    name: str
    group: str
    content: str

    def by_group(self, known: Set[str]) -> bool:
        """Whether the group is among these hashes; older checkpoints have the hashes of groups as spelled."""
        return bool(known & {_hash(self.group), _hash(health.group_key(self.group))})

    def by_content(self, known: Set[str]) -> bool:
        """Whether the content is among these hashes."""
        return bool(self.content) and _hash(self.content) in known


def records_of(data: Dataset, split: str) -> list[Any]:
    """The records of a split; with `all`, every usable record."""
    chosen = list(data.splits) if split == "all" else [split]
    return [record for name in chosen for record in data.splits[name]]


def evaluated(
    saved: Checkpoint, data: Dataset, split: str, records: Sequence[S], content: Callable[[S], str]
) -> tuple[list[S], dict[str, Any]]:
    """The records to evaluate, as `untrained` says, and the first entries of the report of `evaluate`."""
    marks = [Marks(str(r.id), str(r.group), content(r)) for r in records]  # type: ignore[attr-defined]
    records, facts = untrained(saved, data.fingerprint, split, records, marks)
    start = {"checkpoint": str(saved.path), "step": saved.manifest["step"], "split": split}
    return records, {**start, "refused": len(data.listing.refused), **facts}


def untrained(
    saved: Checkpoint, fingerprint: str, split: str, samples: Sequence[S], marks: Sequence[Marks]
) -> tuple[list[S], dict[str, Any]]:
    """The samples of a split to evaluate, and facts for the report of `evaluate`.

    If the data is not the data of the training, samples of `test` are left out whose group or content was in
    the training's train or val. Raises DataUnusable if none remains.
    """
    same = fingerprint.partition("+")[0] == saved.manifest["data"].partition("+")[0]
    facts: dict[str, Any] = {"same_data": same}
    if same or split in ("train", "val"):
        return list(samples), facts
    if KEY not in saved.manifest:
        facts["warning"] = "not the training's data; the checkpoint does not list what it was trained on"
        return list(samples), facts
    known = frozenset(saved.manifest[KEY])
    trained = [mark.by_group(known) or mark.by_content(known) for mark in marks]
    if not any(trained):
        return list(samples), facts
    names = sorted(
        {m.group if m.by_group(known) else m.name for m, t in zip(marks, trained, strict=True) if t}
    )
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
