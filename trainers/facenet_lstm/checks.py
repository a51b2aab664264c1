"""Data and model checks of embeddings: length, columns, normalisation and padding."""

from typing import Any

import numpy as np
import torch

from trainers.engine import health, model_checks
from trainers.engine.check import on_data, on_model
from trainers.engine.health import Finding
from trainers.facenet_lstm import data
from trainers.tasks import classifier_checks


def unit(trainer: Any) -> list[Finding]:
    """Every embedding has length 1."""
    rows = trainer.data.cache.rows
    norms = {record.id: rows[record.id].norm for record in trainer.data.records}
    bad = [f"{id} ({norm:.3f})" for id, norm in norms.items() if not data.is_unit(norm)]
    if not bad:
        return []
    message = f"{len(bad)} of {len(norms)} videos have embeddings whose length is not 1: {health.first(bad)}"
    fix = "use the network's embeddings, scaled to length 1 and otherwise unchanged"
    severity = "error" if len(bad) > trainer.config.max_refused * len(norms) else "warning"
    return [health.Finding("feature.unit", severity, message, fix)]


def columns(trainer: Any) -> list[Finding]:
    """No feature is constant or a copy of another."""
    records = trainer.data.records[: classifier_checks.FILES_COMPARED]
    values = np.concatenate([trainer.data.cache.features(record.id) for record in records])
    constant = [str(i) for i in np.flatnonzero(np.ptp(values, axis=0) == 0)]
    first: dict[bytes, int] = {}
    copies = []
    for i, column in enumerate(np.ascontiguousarray(values.T)):
        if first.setdefault(column.tobytes(), i) != i and str(i) not in constant:
            copies.append(f"{i} = {first[column.tobytes()]}")
    findings = []
    for bad, what in ((constant, "never vary"), (copies, "copy another")):
        if bad:
            message = f"{len(bad)} of {values.shape[1]} columns {what}: {health.first(bad)}"
            findings.append(health.warning("feature.columns", message, "check the extractor"))
    return findings


def same_course(values: np.ndarray, raw: np.ndarray) -> bool:
    """Return whether two (T, F) arrays are equal up to scale and shift of each feature.

    True if the median correlation over time exceeds 0.99.
    """
    a, b = (array - array.mean(0) for array in (values, raw))
    correlation = (a * b).sum(0) / (np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0) + 1e-20)
    return float(np.median(correlation)) > 0.99


def normalised_once(trainer: Any) -> list[Finding]:
    """The features at the model's input have mean about 0 and std about 1."""
    size = max(trainer.config.batch_size, classifier_checks.FILES_COMPARED)
    batch = model_checks.first_batch(trainer, size)
    valid = torch.arange(batch.features.shape[1])[None, :] < batch.lengths[:, None]
    return classifier_checks.normalised_once(batch.features[valid].numpy())


def std_floor(trainer: Any) -> list[Finding]:
    """No feature is divided by a standard deviation near 0."""
    return classifier_checks.floored_std(trainer.normaliser)


def fitted_on_train(trainer: Any) -> list[Finding]:
    """The normalisation uses the mean and std of the training split."""
    ids = [record.id for record in trainer.splits["train"]]
    values = np.concatenate([trainer.data.cache.features(id) for id in ids])
    return classifier_checks.fitted_on(trainer.normaliser, values, ids)


def padding(trainer: Any) -> list[Finding]:
    """Padding does not change a sample's logits, neither in eval mode nor in train mode."""
    samples = sorted((sample for _, sample in trainer.some_samples()), key=lambda s: len(s.features))
    model = trainer.build()
    for mode in ("eval", "train"):
        model.train(mode == "train")
        with torch.no_grad():
            alone = trainer.loss(model, trainer.collate([samples[0]])).logits[0]
            padded = trainer.loss(model, trainer.collate([samples[0], samples[-1]])).logits[0]
        difference = float((alone - padded).abs().max())
        if not difference < 1e-4:
            message = f"in {mode} mode padding changes a sample's logits by {difference:.2g}"
            fix = "mask the padding everywhere: packed LSTM, masked mean, no batch statistics"
            return [health.error("pad.invariance", message, fix)]
    return []


CHECKS = (
    on_data("feature.unit", unit),
    on_data("feature.columns", columns),
    on_model("norm.once", normalised_once),
    on_model("norm.std", std_floor),
    on_model("norm.train_only", fitted_on_train),
    on_model("pad.invariance", padding),
)
