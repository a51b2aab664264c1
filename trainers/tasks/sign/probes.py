"""What `check` asks of a sign language task and its model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.data import normalise
from trainers.data.frames import Frames
from trainers.data.landmarks import RAW
from trainers.data.sign import reading
from trainers.data.sign.batch import Batch, Sample
from trainers.data.sign.config import SignConfig
from trainers.engine import health
from trainers.engine import model_checks as engine
from trainers.engine.events import Events
from trainers.engine.health import Finding
from trainers.preflight import Request
from trainers.tasks import ctc, wer
from trainers.tasks.sign import inspecting, modelprobes, rules
from trainers.tasks.sign import task as tasks
from trainers.tasks.sign.task import SignTask

DATA_CODES = (*rules.CODES, *inspecting.CODES)
OWN_CODES = (
    *("label.match", "ctc.ids", "norm.once", "norm.std", "norm.train_only", "norm.saved"),
    *("pad.invariance", "len.exact", "collapse.locality", "collapse.shift"),
    *("metric.total", "param.budget"),
)
PROBE_CODES = (*OWN_CODES, *(check.code for check in engine.CHECKS))

Finish = Callable[[Any, Any, Mapping[str, Path], Path, Events], SignTask]
"""(task, config, folders, cache, events) to the task: what a trainer adds once its data is there."""


def inspect(
    standard: type[SignTask],
    finish: Finish,
    config: SignConfig,
    given: Mapping[str, str],
    work: Path,
    events: Events,
    kind: type[SignTask] | None = None,
) -> tuple[SignTask | None, list[Finding], dict[str, Any]]:
    """Read every file. The task (None without a usable sentence), findings, the data's report."""
    folders = {name: Path(path) for name, path in given.items() if Path(path).is_dir()}
    nothing = {"found": 0, "used": 0, "refused": [], "tables": []}
    if "phoenix" not in folders:
        return None, [], nothing
    try:
        held = tasks.load(standard, config, folders, work / "cache", events)
    except health.DataUnusable as fault:
        return None, fault.findings, nothing
    found = rules.check(held.listing, held.records, held.refused, config)
    report = rules.report(held.listing.found, held.records, held.refused)
    if any(finding.code == "labels.nonempty" for finding in found):
        return None, found, report
    found += inspecting.content(held)
    task = (kind or standard)(config, held)
    try:
        task = finish(task, config, folders, work / "cache", events)
    except health.DataUnusable as fault:
        found += fault.findings
    return task, found, report


def plain(
    task: SignTask, config: SignConfig, folders: Mapping[str, Path], cache: Path, events: Events
) -> SignTask:
    """A task that is complete as it is."""
    return task


def probes(task: SignTask, config: SignConfig, request: Request) -> list[Any]:
    """Everything asked of the task, the options last."""
    # What a run does after its first epochs is what is asked about.
    alone, settled = task.alone(), task.replace(flat_start=0)
    return [
        ("label.match", lambda: labels_match(task)),
        ("ctc.ids", lambda: targets(task)),
        ("norm.once", lambda: normalised_once(task)),
        ("norm.std", lambda: std_floor(task)),
        ("norm.train_only", lambda: fitted_on_train(task)),
        ("norm.saved", lambda: modelprobes.saved(task)),
        ("pad.invariance", lambda: modelprobes.padding(task)),
        ("len.exact", lambda: modelprobes.exact_length(task)),
        ("collapse.locality", lambda: modelprobes.locality(task)),
        ("collapse.shift", lambda: modelprobes.shift(task)),
        ("metric.total", lambda: metric(task)),
        ("param.budget", lambda: modelprobes.budget(task)),
        ("loss.first", lambda: first_loss(alone)),
        ("grad.flow", lambda: engine.gradient_flow(settled)),
        ("overfit", lambda: modelprobes.overfit(alone)),
        ("lr.plan", lambda: engine.learning_rate_plan(task)),
        ("resume.exact", lambda: engine.resume_exact(settled)),
        ("ckpt.load", lambda: engine.checkpoint_load(task)),
        ("disk", lambda: engine.disk(task)),
        ("option.used", lambda: engine.options_used(task)),
    ]


def some(task: SignTask, most: int = inspecting.LOOKED_AT) -> list[Sample]:
    """Training samples without augmentation, spread evenly."""
    size, items = task.size("train"), task.still("train")
    places = sorted({int(i) for i in np.linspace(0, size - 1, min(size, most))})
    return [items[0, i] for i in places]


def together(task: SignTask, samples: list[Sample]) -> Batch:
    """One batch of them."""
    batch = task.collate(samples)
    assert batch is not None
    return batch


def labels_match(task: SignTask) -> list[Finding]:
    """What comes to the model are the corpus's glosses and the features of that sentence's file."""
    listed = {record.id: record for record in task.data.listing.records}
    moving, wrong = task.items("train"), []
    for sample in some(task):
        record = listed[task.records["train"][sample.index].id]
        wanted = [word for word in record.words if word in task.vocabulary]
        if any(task.vocabulary.glosses(s.target) != wanted for s in (sample, moving[0, sample.index])):
            wrong.append(f"{record.id} as {' '.join(task.vocabulary.glosses(sample.target))}")
        elif record.path is not None and not _same(record.path, sample.course.raw):
            wrong.append(f"{record.id} with other features")
    if not wrong:
        return []
    seen = f"{len(wrong)} sentences come to the model wrongly: {health.first(wrong)}"
    return [health.error("label.match", seen, "glosses and features must be one record all the way")]


def _same(path: Path, raw: np.ndarray) -> bool:
    there = reading.read(path, 1).raw
    return there.shape == raw.shape and bool(np.abs(there.astype(np.float32) - raw).max() < 1e-2)


def targets(task: SignTask) -> list[Finding]:
    """Every target holds ids from 1 to V - 1 and fits its output, augmented too."""
    size, wrong = len(task.vocabulary), []
    for split in ("train", "val", "test"):
        for record in task.records[split]:
            target = task.vocabulary.targets(record.words)
            steps = task.data.cache.rows[record.id].steps
            out = int(task.out_lengths(torch.tensor(steps)))
            if any(not 0 < id < size for id in target) or out < ctc.frames_needed(target):
                wrong.append(record.id)
    items = task.items("train")
    for place in range(0, task.size("train"), max(1, task.size("train") // inspecting.LOOKED_AT)):
        sample = items[1, place]
        out = int(task.out_lengths(torch.tensor(len(sample.course.raw))))
        if out < ctc.frames_needed(sample.target):
            wrong.append(f"{task.names('train', [place])[0]} when augmented")
    if not wrong:
        return []
    seen = f"{len(wrong)} targets do not fit CTC: {health.first(wrong)}"
    return [
        health.error("ctc.ids", seen, "ids are 1 to V - 1, the blank 0 is none of them; length as check says")
    ]


def normalised_once(task: SignTask) -> list[Finding]:
    """At the model's input features have mean about 0 and std about 1; a second time is refused."""
    batch = together(task, some(task, 32))
    frames = task.frames(batch)
    try:
        task.normaliser.apply(frames)
    except normalise.NormalisedTwice:
        pass
    else:
        seen = "frames that were normalised are normalised once more without a word"
        return [health.error("norm.once", seen, "mark them, and refuse the mark")]
    if task.config.normalise == "none":
        return [health.info("norm.once", "normalise: none; the model sees raw coordinates")]
    return _scale(frames)


def _scale(frames: Frames) -> list[Finding]:
    values = frames.values[frames.valid[..., 0] > 0]
    mean, std = float(values.mean(0).abs().median()), float(values.std(0).median())
    top = float(values.abs().max())
    if mean < 0.5 and 0.3 < std < 3.0 and top < 1000.0:
        return []
    seen = f"at the model's input |mean| {mean:.3g}, std {std:.3g}, largest {top:.3g}"
    fix = "normalise once, with the statistics of the training split: neither never nor twice"
    return [health.error("norm.once", seen, fix)]


def std_floor(task: SignTask) -> list[Finding]:
    """No feature is divided by next to nothing."""
    if task.normaliser.statistics is None:
        return []
    std = task.normaliser.statistics.std
    least = normalise.FLOOR * float(np.median(std))
    tiny = [str(i) for i in np.flatnonzero(~(std >= 0.999 * least) | (std <= 0))]
    if not tiny:
        return []
    seen = f"{len(tiny)} features have a std under {least:.3g}: {health.first(tiny)}"
    return [health.error("norm.std", seen, "floor it: std = max(std, 1e-3 * median)")]


def fitted_on_train(task: SignTask) -> list[Finding]:
    """Mean and std are those of the training split."""
    held = task.normaliser.statistics
    if held is None:
        return []
    ids = [record.id for record in task.records["train"]]
    total, count = np.zeros(RAW), 0
    for id in ids:
        raw = task.data.cache.raw(id)
        total, count = total + raw.sum(0, dtype=np.float64), count + len(raw)
    off = float(np.abs(held.mean[:RAW] - total / count).max() / np.median(held.std[:RAW]))
    if held.fitted_on == normalise.digest(ids) and off < 1e-3:
        return []
    seen = f"the statistics are not those of the {len(ids)} training sentences ({off:.2g} std off)"
    return [health.error("norm.train_only", seen, "fit once, on the training split")]


def metric(task: SignTask) -> list[Finding]:
    """WER of a reference with itself is 0, with nothing 1, and errors are counted by their kind."""
    references = [record.words for record in task.records["val"] if record.words]
    wrong = [
        words for words in references if wer.errors(words, words).edits or wer.errors(words, ()).rate != 1.0
    ]
    known = wer.errors(tuple("abcdef"), tuple("axcefg"))
    if not wrong and known == (1, 1, 1, 6):
        return []
    return [health.error("metric.total", "the WER of known pairs is wrong", "run the trainer's own tests")]


def first_loss(task: SignTask) -> list[Finding]:
    """An untrained model is as wrong as one that holds every word equally likely."""
    batch = engine.first_batch(task, task.config.batch_size)
    with torch.no_grad():
        output = task.forward(task.build().eval(), batch)
    lengths = task.out_lengths(batch.lengths)
    expected = ctc.untrained(lengths, batch.targets, len(task.vocabulary)).sum() / output.weight
    return health.first_loss(float(output.loss / output.weight), float(expected))
