"""What `check` asks of the content of the files, and of this trainer's task."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from trainers.data import emotions, normalise, recordings
from trainers.data.recordings import Record
from trainers.engine import checkpoint, health
from trainers.engine import probes as engine
from trainers.engine.events import Events
from trainers.engine.health import Finding
from trainers.engine.preflight import Probe, Request
from trainers.facenet_lstm import data, files, rules
from trainers.facenet_lstm import task as tasks
from trainers.facenet_lstm.config import DATA, Config
from trainers.facenet_lstm.task import FacenetTask

DATA_CODES = (*rules.CODES, "schema.keys", "cache", "dups", "feature.unit", "feature.columns")
OWN_CODES = (
    "label.match",
    "norm.once",
    "norm.std",
    "norm.train_only",
    "norm.saved",
    "pad.invariance",
)
PROBE_CODES = (*OWN_CODES, *engine.CODES)

LOOKED_AT = 64
"""Files that are read once more and compared with what the model is given."""


def inspect(
    config: Config,
    given: Mapping[str, str],
    work: Path,
    events: Events,
    kind: type[FacenetTask] | None = None,
) -> tuple[FacenetTask | None, list[Finding], dict[str, Any]]:
    """Read every file. The task (None without a usable sample), findings, the data's report."""
    folders = {n: Path(p) for n, p in given.items() if n in DATA and Path(p).is_dir()}
    held = tasks.load(config, folders, work, events)
    found = rules.check(held.records, held.refused, held.found, held.home, config)
    report = rules.report(held.found, held.records, held.refused, held.home)
    if any(finding.code == "labels.nonempty" for finding in found):
        return None, found, report
    found += whole(held) + duplicates(held) + unit(held, config) + columns(held)
    return (kind or FacenetTask)(config, held), found, report


def probes(task: FacenetTask, config: Config, request: Request) -> list[Probe]:
    """Everything asked of the task, the options last."""
    return [
        ("label.match", lambda: labels_match(task)),
        ("norm.once", lambda: normalised_once(task)),
        ("norm.std", lambda: std_floor(task)),
        ("norm.train_only", lambda: fitted_on_train(task)),
        ("norm.saved", lambda: saved(task)),
        ("pad.invariance", lambda: padding(task)),
        ("loss.first", lambda: engine.first_loss(task)),
        ("grad.flow", lambda: engine.gradient_flow(task)),
        ("overfit", lambda: engine.overfit(task)),
        ("lr.plan", lambda: engine.learning_rate_plan(task)),
        ("resume.exact", lambda: engine.resume_exact(task)),
        ("ckpt.load", lambda: engine.checkpoint_load(task)),
        ("disk", lambda: engine.disk(task, request.work)),
        ("option.used", lambda: engine.options_used(config, request.config)),
    ]


def whole(held: data.Data) -> list[Finding]:
    """The cache holds what was written into it."""
    bad = held.cache.damaged()
    if not bad:
        return []
    shards = health.first(sorted({str(path) for path in bad.values()}))
    seen = f"{len(bad)} records of {shards} changed: {health.first(list(bad))}"
    return [health.error("cache", seen, f"remove {shards}; it is built again")]


def duplicates(held: data.Data) -> list[Finding]:
    """The same features under two names: across splits a leak, within one a doubt."""
    groups: dict[str, list[str]] = defaultdict(list)
    for record in held.records:
        groups[held.cache.rows[record.id].sha256].append(record.id)
    doubles = [ids for ids in groups.values() if len(ids) > 1]
    across = [ids for ids in doubles if len({held.home[id] for id in ids}) > 1]
    for some, severity in ((across, "error"), (doubles, "warning")):
        if some:
            where = "stand in two splits" if some is across else "have two names"
            names = health.first([" = ".join(ids) for ids in some])
            seen = f"{len(some)} videos {where}: {names}"
            return [health.Finding("dups", severity, seen, "keep one of each")]
    return []


def unit(held: data.Data, config: Config) -> list[Finding]:
    """A Facenet embedding has length 1."""
    norms = {record.id: held.cache.rows[record.id].norm for record in held.records}
    bad = [f"{id} ({norm:.3f})" for id, norm in norms.items() if abs(norm - 1.0) > 1e-3]
    if not bad:
        return []
    seen = f"{len(bad)} of {len(norms)} videos hold rows whose length is not 1: {health.first(bad)}"
    fix = "take the embeddings as the network gives them, scaled to length 1 and nothing else"
    severe = len(bad) > config.max_refused * len(norms)
    return [health.Finding("feature.unit", "error" if severe else "warning", seen, fix)]


def columns(held: data.Data) -> list[Finding]:
    """Columns that never vary, and columns that copy another."""
    some = np.concatenate([held.cache.features(r.id) for r in held.records[:LOOKED_AT]])
    constant = [str(i) for i in np.flatnonzero(np.ptp(some, axis=0) == 0)]
    first: dict[bytes, int] = {}
    copies = []
    for i, column in enumerate(np.ascontiguousarray(some.T)):
        if first.setdefault(column.tobytes(), i) != i and str(i) not in constant:
            copies.append(f"{i} = {first[column.tobytes()]}")
    found = []
    for bad, what in ((constant, "never vary"), (copies, "copy another")):
        if bad:
            seen = f"{len(bad)} of {some.shape[1]} columns {what}: {health.first(bad)}"
            found.append(health.warning("feature.columns", seen, "look at the extractor"))
    return found


def _some_samples(task: FacenetTask) -> list[tuple[Record, tasks.Sample]]:
    """Training samples as the model gets them, spread evenly, each with its record."""
    size, items = task.size("train"), task.items("train")
    places = sorted({int(i) for i in np.linspace(0, size - 1, min(size, LOOKED_AT))})
    return [(task.records["train"][i], items[0, i]) for i in places]


def labels_match(task: FacenetTask) -> list[Finding]:
    """What comes to the model is the label of the file's name and the features of that file."""
    wrong = []
    for record, sample in _some_samples(task):
        label, _ = recordings.label_of(emotions.parse(files.stem(record.path.name)), task.config)
        if emotions.CLASSES[sample.label] != label:
            wrong.append(f"{record.id} as {emotions.CLASSES[sample.label]}")
            continue
        raw = data.read_npz(record.path, task.config.min_steps)
        if sample.features.shape != raw.shape or not _same_course(sample.features, raw):
            wrong.append(f"{record.id} with other features")
    if not wrong:
        return []
    seen = f"{len(wrong)} samples come to the model wrongly: {health.first(wrong)}"
    fix = "label and features must be one record from the file name to the batch"
    return [health.error("label.match", seen, fix)]


def _together(task: FacenetTask, samples: list[tasks.Sample]) -> tasks.Batch:
    batch = task.collate(samples)
    assert batch is not None
    return batch


def _same_course(seen: np.ndarray, raw: np.ndarray) -> bool:
    """Each feature's course over time is that of the file, whatever its scale: z is linear in x."""
    a, b = (values - values.mean(0) for values in (seen, raw))
    likeness = (a * b).sum(0) / (np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0) + 1e-20)
    return float(np.median(likeness)) > 0.99


def normalised_once(task: FacenetTask) -> list[Finding]:
    """At the model's input features have mean about 0 and std about 1."""
    batch = engine.first_batch(task, max(task.config.batch_size, LOOKED_AT))
    valid = torch.arange(batch.features.shape[1])[None, :] < batch.lengths[:, None]
    values = batch.features[valid]
    mean, std = float(values.mean(0).abs().median()), float(values.std(0).median())
    top = float(values.abs().max())
    if mean < 0.5 and 0.3 < std < 3.0 and top < 50.0:
        return []
    seen = f"at the model's input |mean| {mean:.3g}, std {std:.3g}, largest {top:.3g}"
    fix = "normalise once, with the statistics of the training split: neither never nor twice"
    return [health.error("norm.once", seen, fix)]


def std_floor(task: FacenetTask) -> list[Finding]:
    """No feature is divided by next to nothing."""
    std = task.normaliser.std
    least = normalise.FLOOR * float(np.median(std))
    tiny = [str(i) for i in np.flatnonzero(~(std >= 0.999 * least) | (std <= 0))]
    if not tiny:
        return []
    seen = f"{len(tiny)} features have a std under {least:.3g}: {health.first(tiny)}"
    return [health.error("norm.std", seen, "floor it: std = max(std, 1e-3 * median)")]


def fitted_on_train(task: FacenetTask) -> list[Finding]:
    """Mean and std are those of the training split, and every split gets the same."""
    ids = [record.id for record in task.records["train"]]
    everything = np.concatenate([task.data.cache.features(id) for id in ids])
    mean = everything.mean(0, dtype=np.float64)
    off = float(np.abs(task.normaliser.mean - mean).max() / np.median(task.normaliser.std))
    same = all(task.items(split).normaliser is task.normaliser for split in ("val", "test"))
    if task.normaliser.fitted_on == normalise.digest(ids) and off < 1e-3 and same:
        return []
    seen = f"the statistics are not those of the {len(ids)} training samples ({off:.2g} std off)"
    fix = "fit once, on the training split, and hand the same object to val and test"
    return [health.error("norm.train_only", seen, fix)]


def saved(task: FacenetTask) -> list[Finding]:
    """From the checkpoint alone, raw files give the logits that the training's pipeline gives."""
    model = task.build().eval()
    samples = _some_samples(task)[:8]
    manifest = {
        "trainer": task.name,
        "config": task.config.as_dict(),
        "preprocessing": task.preprocessing(),
    }
    with TemporaryDirectory(prefix="gpujob-check-") as folder, torch.no_grad():
        path = checkpoint.save(Path(folder), 1, model, {}, manifest)
        restored = tasks.restore(checkpoint.read(path))
        wanted = task.forward(model, _together(task, [sample for _, sample in samples])).logits
        least = task.config.min_steps
        raw = [data.read_npz(record.path, least) for record, _ in samples]
        got = torch.stack([restored.logits(features) for features in raw])
    off = float((wanted - got).abs().max())
    if off < 1e-4:
        return []
    fix = "all that turns raw input into the model's must be in the checkpoint"
    return [health.error("norm.saved", f"logits from the checkpoint are {off:.2g} off", fix)]


def padding(task: FacenetTask) -> list[Finding]:
    """A sample alone answers as it does padded beside a longer one, in both modes."""
    some = sorted((s for _, s in _some_samples(task)), key=lambda sample: len(sample.features))
    model = task.build()
    for mode in ("eval", "train"):
        model.train(mode == "train")
        with torch.no_grad():
            alone = task.forward(model, _together(task, [some[0]])).logits[0]
            beside = task.forward(model, _together(task, [some[0], some[-1]])).logits[0]
        off = float((alone - beside).abs().max())
        if not off < 1e-4:
            seen = f"in {mode} mode a padded sample's logits are {off:.2g} off those of it alone"
            fix = "mask the padding everywhere: packed LSTM, masked mean, no statistics of a batch"
            return [health.error("pad.invariance", seen, fix)]
    return []
