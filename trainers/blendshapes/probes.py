"""What `check` asks of the rows' values, and of this trainer's task."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from trainers.blendshapes import data, files, names, rules
from trainers.blendshapes import task as tasks
from trainers.blendshapes.batch import Sample
from trainers.blendshapes.config import DATA, Config
from trainers.blendshapes.files import Row
from trainers.blendshapes.task import BlendshapesTask
from trainers.data import normalise
from trainers.engine import checkpoint, health
from trainers.engine import probes as engine
from trainers.engine.events import Events
from trainers.engine.health import Finding
from trainers.engine.preflight import Probe, Request

DATA_CODES = (*rules.CODES, "feature.columns")
OWN_CODES = ("label.match", "norm.once", "norm.std", "norm.train_only", "norm.saved", "baseline")
PROBE_CODES = (*OWN_CODES, *engine.CODES)

LOOKED_AT = 64
"""Rows that are read once more and compared with what the model is given."""

DEAD = 1e-4
"""A score that varies by less (std) tells nothing: MediaPipe leaves five of its 52 near 0."""


def inspect(
    config: Config,
    given: Mapping[str, str],
    work: Path,
    events: Events,
    kind: type[BlendshapesTask] | None = None,
) -> tuple[BlendshapesTask | None, list[Finding], dict[str, Any]]:
    """Read every row. The task (None without a usable row), findings, the data's report."""
    folders = {n: Path(p) for n, p in given.items() if n in DATA and Path(p).is_dir()}
    held = data.load(config, folders)
    found = rules.check(held.listing, held.home, config)
    report = rules.report(held.listing, held.home, config)
    if any(finding.code == "labels.nonempty" for finding in found):
        return None, found, report
    found += columns(held, config)
    return (kind or BlendshapesTask)(config, held), found, report


def probes(task: BlendshapesTask, config: Config, request: Request) -> list[Probe]:
    """Everything asked of the task, the options last."""
    return [
        ("label.match", lambda: labels_match(task)),
        ("norm.once", lambda: normalised_once(task)),
        ("norm.std", lambda: std_floor(task)),
        ("norm.train_only", lambda: fitted_on_train(task)),
        ("norm.saved", lambda: saved(task)),
        ("baseline", lambda: baseline(task)),
        ("loss.first", lambda: engine.first_loss(task)),
        ("grad.flow", lambda: engine.gradient_flow(task)),
        ("overfit", lambda: engine.overfit(task)),
        ("lr.plan", lambda: engine.learning_rate_plan(task)),
        ("resume.exact", lambda: engine.resume_exact(task)),
        ("ckpt.load", lambda: engine.checkpoint_load(task)),
        ("disk", lambda: engine.disk(task, request.work)),
        ("option.used", lambda: engine.options_used(config, request.config)),
    ]


def columns(held: data.Data, config: Config) -> list[Finding]:
    """Scores that never vary, and scores that copy another."""
    values, wanted = held.splits["train"].values, names.SETS[config.columns]
    dead = [f"{wanted[i]} ({values[:, i].mean():.1g})" for i in np.flatnonzero(values.std(0) < DEAD)]
    first: dict[bytes, str] = {}
    copies = []
    for name, column in zip(wanted, np.ascontiguousarray(values.T), strict=True):
        if first.setdefault(column.tobytes(), name) != name and column.std() >= DEAD:
            copies.append(f"{name} = {first[column.tobytes()]}")
    found = []
    for bad, what, fix in (
        (
            dead,
            "never vary",
            "take columns: 33, which leaves out those that never do; or look at the extractor",
        ),
        (copies, "copy another", "look at the extractor"),
    ):
        if bad:
            seen = f"{len(bad)} of {len(wanted)} blendshapes {what}: {health.first(bad)}"
            found.append(health.warning("feature.columns", seen, fix))
    return found


def _some(task: BlendshapesTask) -> list[tuple[Row, Sample]]:
    """Training samples as the model gets them, spread evenly, each with the row they are meant to be."""
    size, items, rows = task.size("train"), task.items("train"), task.data.splits["train"].rows
    places = sorted({int(i) for i in np.linspace(0, size - 1, min(size, LOOKED_AT))})
    balanced = task.balanced
    return [(rows[p if balanced is None else balanced.row(0, p)], items[0, p]) for p in places]


def labels_match(task: BlendshapesTask) -> list[Finding]:
    """What comes to the model is what stands on that line of the file, read once more."""
    config, wrong = task.config, []
    again: dict[Path, dict[int, Row]] = {}
    for row, sample in _some(task):
        if row.path not in again:
            _, entries = files.read(row.path, names.SETS[config.columns])
            again[row.path] = {entry.line: entry for entry in entries if isinstance(entry, Row)}
        other = again[row.path][row.line]
        label = other.label if other.label in config.classes else config.others
        if config.classes[sample.label] != label:
            wrong.append(f"{row.id} as {config.classes[sample.label]}")
        elif not np.array_equal(sample.values, np.array(other.values, dtype=np.float32)):
            wrong.append(f"{row.id} with other values")
    if not wrong:
        return []
    seen = f"{len(wrong)} rows come to the model wrongly: {health.first(wrong)}"
    fix = "label and values must be one record from the file to the batch"
    return [health.error("label.match", seen, fix)]


def normalised_once(task: BlendshapesTask) -> list[Finding]:
    """The model is given raw scores, and what its first layer gets has mean about 0 and std about 1."""
    batch = engine.first_batch(task, max(task.config.batch_size, LOOKED_AT))
    low, high = float(batch.features.min()), float(batch.features.max())
    if low < 0.0 or high > 1.0:
        seen = f"the model is given values from {low:.3g} to {high:.3g}"
        fix = "give it raw scores from 0 to 1: it normalises by itself"
        return [health.error("norm.once", seen, fix)]
    model = task.build()
    values = (batch.features - model.mean) / model.std
    mean, std = float(values.mean(0).abs().median()), float(values.std(0).median())
    if mean < 0.5 and 0.3 < std < 3.0:
        return []
    seen = f"behind the normalisation |mean| {mean:.3g}, std {std:.3g}"
    fix = "the model's mean and std must be those of the training split"
    return [health.error("norm.once", seen, fix)]


def std_floor(task: BlendshapesTask) -> list[Finding]:
    """No score is divided by next to nothing."""
    std = task.normaliser.std
    least = normalise.FLOOR * float(np.median(std))
    tiny = [str(i) for i in np.flatnonzero(~(std >= 0.999 * least) | (std <= 0))]
    if not tiny:
        return []
    seen = f"{len(tiny)} blendshapes have a std under {least:.3g}: {health.first(tiny)}"
    return [health.error("norm.std", seen, "floor it: std = max(std, 1e-3 * median)")]


def fitted_on_train(task: BlendshapesTask) -> list[Finding]:
    """Mean and std are those of the training split."""
    train = task.data.splits["train"]
    mean = train.values.mean(0, dtype=np.float64)
    off = float(np.abs(task.normaliser.mean - mean).max() / np.median(task.normaliser.std))
    if task.normaliser.fitted_on == normalise.digest(row.id for row in train.rows) and off < 1e-3:
        return []
    seen = f"the statistics are not those of the {len(train.rows)} training rows ({off:.2g} std off)"
    return [health.error("norm.train_only", seen, "fit once, on the training split")]


def saved(task: BlendshapesTask) -> list[Finding]:
    """From the checkpoint alone, raw rows of the file give the logits of the training's pipeline."""
    model = task.build().eval()
    some = _some(task)[:8]
    told = {"trainer": task.name, "config": task.config.as_dict(), "preprocessing": task.preprocessing()}
    with TemporaryDirectory(prefix="gpujob-check-") as folder, torch.no_grad():
        path = checkpoint.save(Path(folder), 1, model, {}, {**told, "proof": task.proof(model)})
        try:
            restored = tasks.restore(checkpoint.read(path))
        except checkpoint.Damaged as fault:
            return [health.error("norm.saved", str(fault), "restore must do what the training does")]
        wanted = task.forward(model, task.collate([sample for _, sample in some])).logits  # type: ignore[arg-type]
        got = restored.logits(np.array([row.values for row, _ in some]))
    off = float((wanted - got).abs().max())
    if off < tasks.TOLERANCE:
        return []
    fix = "all that turns raw scores into the model's must be in the checkpoint"
    return [health.error("norm.saved", f"logits from the checkpoint are {off:.2g} off", fix)]


def baseline(task: BlendshapesTask) -> list[Finding]:
    """The logistic regression does better than one constant answer; if not, the labels say nothing."""
    values = task.baseline("val").values
    chance = 1 / len(task.classes)
    told = f"{values['balanced_accuracy']:.3f} on val; one constant answer gets {chance:.3f}"
    if values["balanced_accuracy"] > 1.1 * chance:
        return [health.info("baseline", f"logistic regression has balanced accuracy {told}")]
    fix = "labels and blendshapes look unrelated: look whether files and labels came apart"
    return [health.warning("baseline", f"logistic regression has balanced accuracy {told}", fix)]
