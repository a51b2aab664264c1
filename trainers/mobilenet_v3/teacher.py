"""Computes a teacher's logits for every training sentence once, and caches them by hash."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers import registry
from trainers.data import packed
from trainers.data.landmarks import Layout
from trainers.data.packed import Advance, Encoded, Shard, Source
from trainers.data.sign.data import SHARD_SIZE, Cache
from trainers.data.sign.files import Record
from trainers.engine import checkpoint, health
from trainers.engine.events import Events
from trainers.tasks.vocabulary import Vocabulary


def refuse(path: Path, why: str) -> health.DataUnusable:
    """Create the exception (with a finding) for a teacher that cannot be used."""
    fix = "teacher: PATH names a checkpoint, or a fetched run, of the same glosses and layout"
    return health.DataUnusable([health.error("teacher", f"{path}: {why}", fix, "teacher")])


@dataclass(frozen=True)
class Row(packed.Row):
    """The index entry of a sentence, with the teacher's number of output frames."""

    steps: int


class Teacher(packed.Cache[Row]):
    """The cached logits (T', V) float16 of sentences; `digest` is the hash of the checkpoint's manifest."""

    def __init__(self, folders: Sequence[Path], words: int, digest: str) -> None:
        super().__init__(folders, Row)
        self.words, self.digest = words, digest

    def logits(self, id: str) -> np.ndarray:
        """Logits (T', V) float16 of a sentence without augmentation."""
        return self.content(id).view(np.float16).reshape(-1, self.words)


def open_teacher(
    path: Path,
    records: Sequence[Record],
    cache: Cache,
    data: tuple[Vocabulary, Layout],
    work: Path,
    events: Events,
) -> Teacher:
    """Open the cached logits of these sentences below `work`; missing ones are computed first.

    `data` is the vocabulary and layout of the data. Raises DataUnusable if the teacher has others.
    """
    try:
        teacher = checkpoint.read(checkpoint.find(path))
    except checkpoint.Damaged as fault:
        raise refuse(path, str(fault)) from fault
    _same(path, teacher.manifest["preprocessing"], *data)
    sources = [Source(r.id, "", 0, 0, cache.rows[r.id].sha256) for r in records]
    shards = packed.shards(work, f"logits of {teacher.digest}", sources, SHARD_SIZE)
    folders = packed.ensure(shards, Row, partial(_compute, teacher, cache), events)
    return Teacher(folders, len(data[0]), teacher.digest)


def _same(path: Path, kept: dict[str, Any], vocabulary: Vocabulary, layout: Layout) -> None:
    if "layout" not in kept:
        raise refuse(path, "it is no model of sign language")
    theirs = kept["classes"]
    if tuple(theirs) != vocabulary.words:
        other = sorted(set(theirs) ^ set(vocabulary.words))
        raise refuse(path, f"its vocabulary is another: {len(other)} words differ: {health.first(other)}")
    if Layout.from_dict(kept["layout"]) != layout:
        raise refuse(path, f"its layout is {Layout.from_dict(kept['layout']).name}, the data's {layout.name}")


def _compute(teacher: checkpoint.Checkpoint, cache: Cache, shards: Sequence[Shard], advance: Advance) -> None:
    restored: Any = registry.trainer(teacher.manifest["trainer"]).restore(teacher)
    if torch.cuda.is_available():
        restored.network.to("cuda")

    def encode(source: Source) -> Encoded:
        logits = restored.logits(cache.raw(source.id)).numpy().astype(np.float16)
        return Encoded(logits.tobytes(), {"steps": len(logits)})

    packed.build_here(encode)(shards, advance)
