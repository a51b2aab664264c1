"""Data and model checks of blendshapes: columns, labels, normalisation and baseline."""

from pathlib import Path
from typing import Any

import numpy as np

from trainers.blendshapes import data, files, names
from trainers.blendshapes.files import Row
from trainers.engine import health, model_checks
from trainers.engine.check import on_data, on_model
from trainers.engine.health import Finding
from trainers.tasks import classifier_checks

DEAD = 1e-4
"""A blendshape with a smaller std counts as constant: MediaPipe leaves five of its 52 near 0."""


def columns(trainer: Any) -> list[Finding]:
    """No blendshape is constant or a copy of another."""
    values = data.values_of(trainer.splits["train"], trainer.config)
    inputs = names.SETS[trainer.config.columns]
    dead = [f"{inputs[i]} ({values[:, i].mean():.1g})" for i in np.flatnonzero(values.std(0) < DEAD)]
    first: dict[bytes, str] = {}
    copies = []
    for name, column in zip(inputs, np.ascontiguousarray(values.T), strict=True):
        if first.setdefault(column.tobytes(), name) != name and column.std() >= DEAD:
            copies.append(f"{name} = {first[column.tobytes()]}")
    constant = "set columns: 33, which excludes the constant ones, or check the extractor"
    findings = []
    for bad, what, fix in (
        (dead, "never vary", constant),
        (copies, "copy another", "check the extractor"),
    ):
        if bad:
            message = f"{len(bad)} of {len(inputs)} blendshapes {what}: {health.first(bad)}"
            findings.append(health.warning("feature.columns", message, fix))
    return findings


def labels_match(trainer: Any) -> list[Finding]:
    """The label and values that the model receives equal those of the file, which is read again."""
    config, rows, wrong = trainer.config, trainer.splits["train"], []
    lines: dict[Path, dict[int, Row]] = {}
    for index in classifier_checks.spread(trainer.size("train")):
        sample = trainer.sample("train", 0, index)
        row = rows[trainer.balanced.row(0, index) if trainer.balanced else index]
        if row.path not in lines:
            _, entries = files.read(row.path, config)
            lines[row.path] = {entry.line: entry for entry in entries if isinstance(entry, Row)}
        again = lines[row.path][row.line]
        label = again.label if again.label in config.classes else config.others
        if config.classes[sample.label] != label:
            wrong.append(f"{row.id} as {config.classes[sample.label]}")
        elif not np.array_equal(sample.features, np.array(again.values, dtype=np.float32)):
            wrong.append(f"{row.id} with other values")
    if not wrong:
        return []
    message = f"{len(wrong)} rows reach the model with a wrong label or wrong values: {health.first(wrong)}"
    fix = "keep the label and the values of a row in one record, from the file to the batch"
    return [health.error("label.match", message, fix)]


def normalised_once(trainer: Any) -> list[Finding]:
    """The model receives raw scores from 0 to 1 and normalises them to mean about 0 and std about 1."""
    size = max(trainer.config.batch_size, classifier_checks.FILES_COMPARED)
    features = model_checks.first_batch(trainer, size).features
    low, high = float(features.min()), float(features.max())
    if low < 0.0 or high > 1.0:
        message = f"the model receives values from {low:.3g} to {high:.3g}"
        fix = "pass raw scores from 0 to 1: the model normalises them itself"
        return [health.error("norm.once", message, fix)]
    if trainer.config.normalise == "none":
        return []
    model = trainer.build()
    values = model.normalised(features)
    mean, std = float(values.mean(0).abs().median()), float(values.std(0).median())
    if mean < 0.5 and 0.3 < std < 3.0:
        return []
    message = f"after the normalisation |mean| {mean:.3g}, std {std:.3g}"
    fix = "the model's mean and std must be those of the training split"
    return [health.error("norm.once", message, fix)]


def std_floor(trainer: Any) -> list[Finding]:
    """No blendshape is divided by a standard deviation near 0."""
    return classifier_checks.floored_std(trainer.normaliser, "blendshapes")


def fitted_on_train(trainer: Any) -> list[Finding]:
    """The normalisation uses the mean and std of the training split."""
    if trainer.config.normalise == "none":
        return []
    rows = trainer.splits["train"]
    values = data.scaled(rows, trainer.config)
    return classifier_checks.fitted_on(trainer.normaliser, values, [row.id for row in rows])


def baseline(trainer: Any) -> list[Finding]:
    """Logistic regression has more than 1.1 times the balanced accuracy of a constant answer."""
    values = trainer.baseline("val").values
    chance = 1 / len(trainer.classes)
    text = f"{values['balanced_accuracy']:.3f} on val; one constant answer gets {chance:.3f}"
    if values["balanced_accuracy"] > 1.1 * chance:
        return [health.info("baseline", f"logistic regression has balanced accuracy {text}")]
    fix = "labels and blendshapes look unrelated: check that each label belongs to its row"
    return [health.warning("baseline", f"logistic regression has balanced accuracy {text}", fix)]


CHECKS = (
    on_data("feature.columns", columns),
    on_model("label.match", labels_match),
    on_model("norm.once", normalised_once),
    on_model("norm.std", std_floor),
    on_model("norm.train_only", fitted_on_train),
    on_model("baseline", baseline),
)
