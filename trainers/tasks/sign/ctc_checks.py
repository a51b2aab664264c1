"""The checks of a CTC trainer: targets, normalisation, metrics, first loss and overfitting."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trainers.data import normalise
from trainers.data.frames import Frames
from trainers.data.landmarks import RAW
from trainers.data.sign import reading
from trainers.data.sign.batch import Sample
from trainers.engine import health, model_checks
from trainers.engine.check import on_model
from trainers.engine.health import Finding
from trainers.tasks import classifier_checks, ctc, wer
from trainers.tasks.sign import data_checks

OVERFIT_SAMPLES, OVERFIT_STEPS, OVERFIT_RATE, OVERFIT_GOAL = 2, 300, 3e-3, 0.1


def some_samples(trainer: Any, most: int = data_checks.SENTENCES) -> list[Sample]:
    """Up to `most` training samples without augmentation, spread evenly over the split."""
    return [trainer.unaugmented("train", i) for i in classifier_checks.spread(trainer.size("train"), most)]


def labels_match(trainer: Any) -> list[Finding]:
    """Each training sample has its sentence's glosses and features."""
    listed = {record.id: record for record in trainer.data.records}
    vocabulary, wrong = trainer.vocabulary, []
    for index in classifier_checks.spread(trainer.size("train"), data_checks.SENTENCES):
        record = listed[trainer.splits["train"][index].id]
        expected = [word for word in record.words if word in vocabulary]
        augmented, sample = trainer.sample("train", 0, index), trainer.unaugmented("train", index)
        if any(vocabulary.glosses(s.target) != expected for s in (sample, augmented)):
            wrong.append(f"{record.id} as {' '.join(vocabulary.glosses(sample.target))}")
        elif record.path is not None and not _same(record.path, sample.course.raw):
            wrong.append(f"{record.id} with other features")
    if not wrong:
        return []
    message = f"{len(wrong)} training samples are wrong: {health.first(wrong)}"
    return [health.error("label.match", message, "keep glosses and features in one record")]


def _same(path: Path, raw: np.ndarray) -> bool:
    again = reading.read(path, 1).raw
    return again.shape == raw.shape and bool(np.abs(again.astype(np.float32) - raw).max() < 1e-2)


def targets(trainer: Any) -> list[Finding]:
    """Every target has ids from 1 to V - 1 and fits into its output, also with augmentation."""
    size, wrong = len(trainer.vocabulary), []
    for split in ("train", "val", "test"):
        for record in trainer.splits[split]:
            target = trainer.vocabulary.targets(record.words)
            steps = trainer.data.cache.rows[record.id].steps
            if any(not 0 < id < size for id in target) or not _fits(trainer, steps, target):
                wrong.append(record.id)
    for index in range(0, trainer.size("train"), max(1, trainer.size("train") // data_checks.SENTENCES)):
        sample = trainer.sample("train", 1, index)
        if not _fits(trainer, len(sample.course.raw), sample.target):
            wrong.append(f"{trainer.names('train', [index])[0]} when augmented")
    if not wrong:
        return []
    message = f"{len(wrong)} targets do not fit CTC: {health.first(wrong)}"
    fix = "use ids 1 to V - 1 (0 is the blank), and enough output frames for the target"
    return [health.error("ctc.ids", message, fix)]


def _fits(trainer: Any, steps: int, target: Any) -> bool:
    return int(trainer.out_lengths(torch.tensor(steps))) >= ctc.frames_needed(target)


def normalised_once(trainer: Any) -> list[Finding]:
    """The model's input is normalised, and normalising it twice raises an error."""
    frames: Frames = trainer.frames(trainer.collate(some_samples(trainer, 32)))
    try:
        trainer.normaliser.apply(frames)
    except normalise.NormalisedTwice:
        pass
    else:
        message = "normalising frames twice raises no error"
        return [health.error("norm.once", message, "mark normalised frames, and refuse marked ones")]
    if trainer.config.normalise == "none":
        return [health.info("norm.once", "normalise: none; the model sees raw coordinates")]
    return classifier_checks.normalised_once(frames.values[frames.valid[..., 0] > 0].numpy(), 1000.0)


def std_floor(trainer: Any) -> list[Finding]:
    """No feature has a std near 0."""
    statistics = trainer.normaliser.statistics
    return classifier_checks.floored_std(statistics) if statistics else []


def fitted_on_train(trainer: Any) -> list[Finding]:
    """Mean and std were computed from the training split."""
    statistics = trainer.normaliser.statistics
    if statistics is None:
        return []
    ids = [record.id for record in trainer.splits["train"]]
    total, count = np.zeros(RAW), 0
    for id in ids:
        raw = trainer.data.cache.raw(id)
        total, count = total + raw.sum(0, dtype=np.float64), count + len(raw)
    off = float(np.abs(statistics.mean[:RAW] - total / count).max() / np.median(statistics.std[:RAW]))
    if statistics.fitted_on == normalise.digest(ids) and off < 1e-3:
        return []
    message = f"the statistics are not those of the {len(ids)} training sentences ({off:.2g} std off)"
    return [health.error("norm.train_only", message, "fit once, on the training split")]


def metric(trainer: Any) -> list[Finding]:
    """The WER of a reference against itself is 0, against nothing 1; edits are counted by kind."""
    references = [record.words for record in trainer.splits["val"] if record.words]
    wrong = [w for w in references if wer.errors(w, w).edits or wer.errors(w, ()).rate != 1.0]
    if not wrong and wer.errors(tuple("abcdef"), tuple("axcefg")) == (1, 1, 1, 6):
        return []
    return [health.error("metric.total", "the WER of known pairs is wrong", "run the trainer's own tests")]


def first_loss(trainer: Any) -> list[Finding]:
    """The loss of an untrained model is that of uniform word probabilities."""
    return model_checks.first_loss(trainer.without_regularisation())


def overfit(trainer: Any) -> list[Finding]:
    """The model can memorise two sentences without a word error, and repeats them in eval mode."""
    trainer = trainer.without_regularisation()
    batch = trainer.collate(shortest(trainer)[:OVERFIT_SAMPLES])
    sizes, model = sum(max(1, len(target)) for target in batch.targets), trainer.build().train()
    loss, edits = _memorise(trainer, model, batch, sizes)
    if not (loss < OVERFIT_GOAL and not edits):
        message = f"after {OVERFIT_STEPS} steps on {OVERFIT_SAMPLES} sentences {loss:.2f} nats a gloss"
        return [
            health.error("overfit", message, "model or targets are wrong: two sentences cannot be memorised")
        ]
    with torch.no_grad():
        again = trainer.loss(model.eval(), batch)
    if float(again.loss) / sizes < 2 * OVERFIT_GOAL and not float(again.correct.sum()):
        return []
    message = f"memorised in train mode, in eval mode {float(again.loss) / sizes:.2f} nats a gloss"
    return [health.error("overfit", message, "train and eval mode differ: look at norms and decoding")]


def _memorise(trainer: Any, model: nn.Module, batch: Any, sizes: int) -> tuple[float, float]:
    """Train on one batch; returns the last loss (nats per gloss) and the number of edits."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=OVERFIT_RATE, weight_decay=0.0)
    loss = edits = float("inf")
    with model_checks.without_dropout(model):
        for _ in range(OVERFIT_STEPS):
            optimizer.zero_grad()
            output = trainer.loss(model, batch)
            loss, edits = float(output.loss.detach()) / sizes, float(output.correct.sum())
            if loss < OVERFIT_GOAL and not edits:
                break
            (output.loss / sizes).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return loss, edits


def shortest(trainer: Any) -> list[Sample]:
    """The first 32 training samples without augmentation, shortest first."""
    samples = [trainer.unaugmented("train", i) for i in range(min(32, trainer.size("train")))]
    return sorted(samples, key=lambda sample: len(sample.course.raw))


CHECKS = (
    on_model("label.match", labels_match),
    on_model("ctc.ids", targets),
    on_model("norm.once", normalised_once),
    on_model("norm.std", std_floor),
    on_model("norm.train_only", fitted_on_train),
    on_model("metric.total", metric),
    on_model("loss.first", first_loss),
    on_model("overfit", overfit),
)
