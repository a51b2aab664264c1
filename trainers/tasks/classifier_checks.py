"""The checks of every classifier, and helpers for checks of samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from trainers.data import normalise
from trainers.engine import checkpoint, health
from trainers.engine.health import Finding

FILES_COMPARED = 64
"""Maximum number of files that are read again and compared with the training samples."""

TOLERANCE = 1e-4


def spread(size: int, most: int = FILES_COMPARED) -> list[int]:
    """At most `most` indices, spread evenly over a split of `size` samples."""
    return sorted({int(i) for i in np.linspace(0, size - 1, min(size, most))})


def groups(trainer: Any) -> list[Finding]:
    """No group is in two splits."""
    members = {split: [record.group for record in records] for split, records in trainer.splits.items()}
    return health.group_overlap("groups", members)


def balance(trainer: Any) -> list[Finding]:
    """Every class occurs in every split, with at least 5 % of its samples."""
    return health.balance(trainer.splits, trainer.classes)


def save(trainer: Any, model: Any, folder: Path) -> checkpoint.Checkpoint:
    """Save a model as a checkpoint below `folder`, as a training does, and read it back."""
    manifest = {
        "trainer": trainer.name,
        "config": trainer.config.as_dict(),
        "preprocessing": trainer.preprocessing,
        "proof": trainer.proof(model),
    }
    return checkpoint.read(checkpoint.save(folder, 1, model, {}, manifest))


def restored_answers(trainer: Any) -> list[Finding]:
    """A trainer restored from a checkpoint gives the validation's probabilities."""
    trainer = trainer.lighter()
    model, records = trainer.build().eval(), trainer.splits["val"][: trainer.answers_compared]
    batch = trainer.collate([trainer.sample("val", 0, index) for index in range(len(records))])
    with TemporaryDirectory(prefix="gpujob-check-") as folder, torch.no_grad():
        expected = trainer.logits(model, batch).float().softmax(1)
        try:
            restored = type(trainer).restore(save(trainer, model, Path(folder)))
        except checkpoint.Damaged as fault:
            return [health.error("norm.saved", str(fault), "make `setup` accept the result of `fit`")]
        actual = torch.cat([restored.answers([trainer.reread(record)]) for record in records]).softmax(1)
    difference = float((expected - actual).abs().max())
    if difference < TOLERANCE:
        return []
    fix = "all that turns raw input into the model's must be in the checkpoint"
    message = f"probabilities from the checkpoint differ by {difference:.2g}"
    return [health.error("norm.saved", message, fix)]


def floored_std(normaliser: normalise.Normaliser, what: str = "features") -> list[Finding]:
    """No feature has a std near 0."""
    least = normalise.FLOOR * float(np.median(normaliser.std))
    tiny = [str(i) for i in np.flatnonzero(~(normaliser.std >= 0.999 * least) | (normaliser.std <= 0))]
    if not tiny:
        return []
    message = f"{len(tiny)} {what} have a std under {least:.3g}: {health.first(tiny)}"
    return [health.error("norm.std", message, "floor it: std = max(std, 1e-3 * median)")]


def fitted_on(normaliser: normalise.Normaliser, values: np.ndarray, ids: Sequence[str]) -> list[Finding]:
    """Mean and std were computed from the training split: `values` (N, F) of the samples `ids`."""
    mean = values.mean(0, dtype=np.float64)
    off = float(np.abs(normaliser.mean - mean).max() / np.median(normaliser.std))
    if normaliser.fitted_on == normalise.digest(ids) and off < 1e-3:
        return []
    message = f"the statistics are not those of the {len(ids)} training samples ({off:.2g} std off)"
    return [health.error("norm.train_only", message, "fit once, on the training split")]


def normalised_once(values: np.ndarray, top: float = 50.0) -> list[Finding]:
    """The model's input `values` (N, F) has a mean of about 0 and a std of about 1."""
    mean, std = float(np.median(np.abs(values.mean(0)))), float(np.median(values.std(0)))
    largest = float(np.abs(values).max())
    if mean < 0.5 and 0.3 < std < 3.0 and largest < top:
        return []
    message = f"at the model's input |mean| {mean:.3g}, std {std:.3g}, largest {largest:.3g}"
    fix = "normalise exactly once, with the statistics of the training split"
    return [health.error("norm.once", message, fix)]


def duplicates(digests: dict[str, str], splits: dict[str, str], what: str, names: str) -> list[Finding]:
    """An error if samples of two splits have the same content, a warning if samples of one split do.

    `digests` and `splits` map each id to the hash of its content and to its split.
    """
    groups: dict[str, list[str]] = {}
    for id, digest in digests.items():
        groups.setdefault(digest, []).append(id)
    doubles = [ids for ids in groups.values() if len(ids) > 1]
    across = [ids for ids in doubles if len({splits[id] for id in ids}) > 1]
    for some, severity in ((across, "error"), (doubles, "warning")):
        if some:
            where = "are in two splits" if some is across else f"have two {names}"
            message = f"{len(some)} {what} {where}: {health.first([' = '.join(ids) for ids in some])}"
            return [health.Finding("dups", severity, message, "keep one of each")]
    return []


def changed_cache(damaged: Mapping[str, Path], what: str, fix: str = "") -> list[Finding]:
    """An error if cached records changed; `damaged` maps their ids to the paths of their shards.

    `fix` replaces the advice to delete the shards, for data that is not a cache.
    """
    if not damaged:
        return []
    shards = health.first(sorted({str(path) for path in damaged.values()}))
    message = f"{len(damaged)} {what} of {shards} changed: {health.first(list(damaged))}"
    return [health.error("cache", message, fix or f"delete {shards}; the cache is rebuilt")]
