"""A teacher's logits for every training sentence, computed once and kept by hash."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers import registry
from trainers.data.landmarks import Layout
from trainers.data.sign.data import Cache, publish
from trainers.data.sign.files import Record
from trainers.engine import checkpoint, health
from trainers.engine.events import Events
from trainers.tasks.vocabulary import Vocabulary

LOGITS, INDEX = "logits.f16", "index.json"


def resolve(path: Path) -> Path:
    """The checkpoint that a folder is or holds: itself, what its `best` or `last` names, or those of
    its `checkpoints`."""
    for root in (path, path / "checkpoints"):
        if (root / checkpoint.MANIFEST).is_file():
            return root
        for name in ("best", "last"):
            if (step := checkpoint.pointed(root, name)) is not None:
                return root / str(step)
    return path


def refuse(path: Path, why: str) -> health.DataUnusable:
    """The finding that a teacher cannot be learnt from."""
    fix = "teacher: PATH names a checkpoint, or a fetched run, of the same glosses and layout"
    return health.DataUnusable([health.error("teacher", f"{path}: {why}", fix, "teacher")])


class Teacher:
    """The logits (T', V) float16 of some sentences, memory-mapped."""

    def __init__(self, folder: Path, digest: str) -> None:
        index = json.loads((folder / INDEX).read_text())
        self.digest = digest
        self.words: int = index["words"]
        self.rows: dict[str, tuple[int, int]] = {id: (at, steps) for id, at, steps in index["rows"]}
        total = sum(steps for _, steps in self.rows.values())
        if (folder / LOGITS).stat().st_size != total * self.words * 2:
            raise OSError(f"{folder / LOGITS} is not as long as its index says")
        self._values = np.memmap(folder / LOGITS, np.float16, "r", shape=(total, self.words))

    def logits(self, id: str) -> np.ndarray:
        """(T', V) float16 of a sentence as it is, without augmentation."""
        at, steps = self.rows[id]
        return np.asarray(self._values[at : at + steps])


def open_teacher(
    path: Path,
    records: Sequence[Record],
    cache: Cache,
    given: tuple[Vocabulary, Layout],
    work: Path,
    events: Events,
) -> Teacher:
    """The logits of these sentences, from the cache below `work` where teacher and features are the same.

    Raises DataUnusable for a teacher of other glosses or of another layout.
    """
    try:
        held = checkpoint.read(resolve(path))
    except checkpoint.Damaged as fault:
        raise refuse(path, str(fault)) from fault
    _same(path, held.manifest["preprocessing"], *given)
    digest = hashlib.sha256((held.path / checkpoint.MANIFEST).read_bytes()).hexdigest()
    lines = "\n".join([digest, *(f"{record.id} {cache.rows[record.id].sha256}" for record in records)])
    folder = work / f"teacher-{hashlib.sha256(lines.encode()).hexdigest()[:32]}"
    try:
        return Teacher(folder, digest)
    except (OSError, ValueError, KeyError):
        _compute(held, folder, records, cache, events)
    return Teacher(folder, digest)


def _same(path: Path, kept: dict[str, Any], vocabulary: Vocabulary, layout: Layout) -> None:
    if "layout" not in kept:
        raise refuse(path, "it is no model of sign language")
    theirs = kept["classes"]
    if tuple(theirs) != vocabulary.words:
        other = sorted(set(theirs) ^ set(vocabulary.words))
        raise refuse(path, f"its vocabulary is another: {len(other)} words differ: {health.first(other)}")
    if Layout.from_dict(kept["layout"]) != layout:
        raise refuse(path, f"its layout is {Layout.from_dict(kept['layout']).name}, the data's {layout.name}")


def _compute(
    held: checkpoint.Checkpoint, folder: Path, records: Sequence[Record], cache: Cache, events: Events
) -> None:
    restored = registry.task(held.manifest["trainer"]).restore(held)
    if torch.cuda.is_available():
        restored.model.to("cuda")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own: two runs may begin with the same teacher at once.
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    rows: list[tuple[str, int, int]] = []
    with (beside / LOGITS).open("wb") as file:
        for done, record in enumerate(records, 1):
            logits = restored.logits(cache.raw(record.id)).numpy().astype(np.float16)
            at = rows[-1][1] + rows[-1][2] if rows else 0
            rows.append((record.id, at, len(logits)))
            file.write(logits.tobytes())
            if done % 100 == 0 or done == len(records):
                events("progress", phase="cache", step=done, of=len(records))
    (beside / INDEX).write_text(json.dumps({"words": len(restored.vocabulary), "rows": rows}))
    publish(beside, folder)
