"""What `check` asks of the content of the videos, and of this trainer's task."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from trainers.data import emotions, recordings
from trainers.engine import checkpoint, health
from trainers.engine import probes as engine
from trainers.engine.events import Events
from trainers.engine.health import Finding
from trainers.engine.preflight import Probe, Request
from trainers.slowfast import clips, data, files, network, pixels, rules, use, video
from trainers.slowfast import task as tasks
from trainers.slowfast.config import Config
from trainers.slowfast.task import SlowFastTask

DATA_CODES = (*rules.CODES, "files.decodable", "weights.fit", "faces", "cache", "dups", "clip.length")
OWN_CODES = (
    "label.match",
    "norm.once",
    "norm.saved",
    "aug.clip",
    "aug.off",
    "tta.used",
    "model.is",
    "frames.used",
    "time.seen",
    "throughput",
)
PROBE_CODES = (*OWN_CODES, *engine.CODES)

LOOKED_AT = 16
"""Videos that are decoded once more and compared with what the model is given."""

SMALL_FRAMES, SMALL_SIZE = 8, 64
"""What a CPU is asked to compute in the probes that train."""


def inspect(
    config: Config,
    given: Mapping[str, str],
    work: Path,
    events: Events,
    kind: type[SlowFastTask] | None = None,
) -> tuple[SlowFastTask | None, list[Finding], dict[str, Any]]:
    """Decode every video into the cache. The task (None without one), findings, the data's report."""
    task, found = tasks.opened(config, rules.there(given), work, events, kind or SlowFastTask)
    if task is None:
        _, _, report = rules.check_files(given, config)
        return None, found, report
    held = task.data
    found = rules.check(held.records, held.refused, held.chosen, config)
    report = rules.report(held.found, held.records, held.refused, held.chosen.home)
    report["manifest"] = str(held.manifest)
    return task, found + whole(held) + duplicates(held) + short(held, config), report


def probes(task: SlowFastTask, config: Config, request: Request) -> list[Probe]:
    """Everything asked of the task, the options last."""
    light = lighter(task)
    return [
        ("label.match", lambda: labels_match(task)),
        ("norm.once", lambda: normalised_once(task)),
        ("norm.saved", lambda: saved(light)),
        ("aug.clip", lambda: same_for_a_clip(task)),
        ("aug.off", lambda: off_in_validation(task)),
        ("tta.used", lambda: averaged(light)),
        ("model.is", lambda: network.named(task.build(), config)),
        ("frames.used", lambda: network.frames_used(light.build(), light.config)),
        ("time.seen", lambda: network.time_seen(light.build(), light.config)),
        ("loss.first", lambda: engine.first_loss(light)),
        ("grad.flow", lambda: engine.gradient_flow(light)),
        ("overfit", lambda: engine.overfit(unaltered(light))),
        ("lr.plan", lambda: engine.learning_rate_plan(task)),
        ("resume.exact", lambda: engine.resume_exact(light)),
        ("ckpt.load", lambda: engine.checkpoint_load(light)),
        ("throughput", lambda: network.loader_share(task, light)),
        ("disk", lambda: engine.disk(task, request.work)),
        ("option.used", lambda: engine.options_used(config, request.config)),
    ]


def lighter(task: SlowFastTask) -> SlowFastTask:
    """The same network on short clips of few pixels, which a CPU can train in a minute."""
    config = task.config
    frames = min(config.frames, max(SMALL_FRAMES, 2 * config.alpha))
    return task.replace(
        frames=frames,
        size=min(config.size, SMALL_SIZE),
        stride=max(1, config.frames * config.stride // frames),
    )


def unaltered(task: SlowFastTask) -> SlowFastTask:
    """Training clips as they are: what is learnt by heart is then what eval mode sees."""
    none = dict.fromkeys(
        ("flip", "rotate", "zoom", "shift", "colour", "cutout", "reverse", "drop_frames"), 0.0
    )
    return task.replace(**none, clips_per_video=1, test_flip=False, label_smoothing=0.0)


def whole(held: data.Data) -> list[Finding]:
    """The cache holds what was written into it."""
    bad = held.cache.damaged()
    if not bad:
        return []
    shards = health.first(sorted({str(path) for path in bad.values()}))
    seen = f"{len(bad)} cached videos of {shards} changed: {health.first(list(bad))}"
    return [health.error("cache", seen, f"remove {shards}; it is built again")]


def duplicates(held: data.Data) -> list[Finding]:
    """The same pictures under two names: across splits a leak, within one a doubt."""
    groups: dict[str, list[str]] = defaultdict(list)
    for record in held.records:
        groups[held.cache.rows[record.id].sha256].append(record.id)
    doubles = [ids for ids in groups.values() if len(ids) > 1]
    across = [ids for ids in doubles if len({held.chosen.home[id] for id in ids}) > 1]
    for some, severity in ((across, "error"), (doubles, "warning")):
        if some:
            where = "stand in two splits" if some is across else "have two names"
            seen = f"{len(some)} videos {where}: {health.first([' = '.join(ids) for ids in some])}"
            return [health.Finding("dups", severity, seen, "keep one of each")]
    return []


def short(held: data.Data, config: Config) -> list[Finding]:
    """Videos shorter than a clip: their test clips are one and the same."""
    span = (config.frames - 1) * config.stride + 1
    some = [r.id for r in held.records if held.cache.rows[r.id].frames < span]
    if not some:
        return []
    seen = f"{len(some)} of {len(held.records)} videos have fewer than the {span} frames of a clip"
    if len(some) <= 0.5 * len(held.records):
        return [health.info("clip.length", seen, "nothing: they are read evenly from end to end")]
    return [health.warning("clip.length", seen, "fewer frames or a smaller stride", "frames")]


def _some(task: SlowFastTask) -> list[int]:
    size = task.size("train")
    return sorted({int(i) for i in np.linspace(0, size - 1, min(size, LOOKED_AT))})


def labels_match(task: SlowFastTask) -> list[Finding]:
    """What comes to the model is the label of the file's name, and frames of that very file."""
    wrong, items = [], task.items("train")
    for place in _some(task):
        record, sample = task.records["train"][place], items[0, place]
        label, _ = recordings.label_of(emotions.parse(files.stem(record.path.name)), task.config)
        if emotions.CLASSES[sample.label] != label:
            wrong.append(f"{record.id} as {emotions.CLASSES[sample.label]}")
        elif task.config.crop == "centre" and not _of_file(task, record.path, sample.frames):
            wrong.append(f"{record.id} with other frames")
    if not wrong:
        return []
    fix = "label and frames must be one record from the file name to the batch"
    return [
        health.error(
            "label.match", f"{len(wrong)} samples come to the model wrongly: {health.first(wrong)}", fix
        )
    ]


def _of_file(task: SlowFastTask, path: Path, seen: np.ndarray) -> bool:
    """Every frame of the clips is one of the file's."""
    raw = data.kind(task.config).as_kept(video.read(path, task.config.cache_size).frames)
    kept = {frame.tobytes() for frame in raw}
    return all(frame.tobytes() in kept for frame in seen.reshape(-1, *raw.shape[1:]))


def normalised_once(task: SlowFastTask) -> list[Finding]:
    """At the model's input the values are those that Kinetics weights expect; no second pass is possible."""
    batch = engine.first_batch(task, task.config.batch_size)
    seen = pixels.augmented(batch.frames.flatten(0, 1), task.config.size, batch.looks.flatten(0, 1))
    low, high = -pixels.MEAN / pixels.STD, (1 - pixels.MEAN) / pixels.STD
    mean, std, top = float(seen.mean()), float(seen.std()), float(seen.abs().max())
    if (
        abs(mean) < 2.0
        and 0.05 < std < 3.0
        and low - 0.01 <= float(seen.min())
        and float(seen.max()) <= high + 0.01
    ):
        return []
    told = f"at the model's input mean {mean:.3g}, std {std:.3g}, largest {top:.3g}"
    return [health.error("norm.once", told, "frames come as uint8 and are normalised once, on the device")]


def saved(task: SlowFastTask) -> list[Finding]:
    """From the checkpoint alone, a file gives the probabilities that the validation gives."""
    model, split = task.build().eval(), "val"
    manifest = {"trainer": task.name, "config": task.config.as_dict(), "preprocessing": task.preprocessing()}
    places = range(min(3, task.size(split)))
    with TemporaryDirectory(prefix="gpujob-check-") as folder, torch.no_grad():
        path = checkpoint.save(Path(folder), 1, model, {}, manifest)
        restored = use.restore(checkpoint.read(path))
        batch = task.collate([task.items(split)[0, place] for place in places])
        wanted = task.forward(model, batch).logits.exp()
        paths = [task.records[split][place].path for place in places]
        got = torch.stack([restored.answer(use.read(path, task.config)) for path in paths])
    off = float((wanted - got).abs().max())
    if off < 1e-4:
        return []
    fix = "all that turns a video into the model's input must be in the checkpoint"
    return [health.error("norm.saved", f"probabilities from the checkpoint are {off:.2g} off", fix)]


def same_for_a_clip(task: SlowFastTask) -> list[Finding]:
    """A still clip stays still whatever is done to it: nothing is drawn anew for each frame."""
    items, size = task.items("train"), task.config.size
    still = torch.stack(
        [torch.from_numpy(items[0, p].frames[:, :1].repeat(4, 1)) for p in _some(task)[:4]]
    ).flatten(0, 1)
    looks = torch.from_numpy(np.concatenate([items[0, p].looks for p in _some(task)[:4]]))
    seen = pixels.augmented(still, size, looks)
    moved = float((seen - seen[:, :1]).abs().max())
    if moved < 1e-5:
        return []
    told = f"frames of a still clip differ by {moved:.2g} after augmentation"
    return [health.error("aug.clip", told, "draw once a clip; what changes from frame to frame is motion")]


def off_in_validation(task: SlowFastTask) -> list[Finding]:
    """A validation clip is the same each epoch, and changed by nothing but the crop."""
    items = task.items("val")
    first, again = items[0, 0], items[7, 0]
    plain = clips.unchanged(task.config)
    if (first.frames == again.frames).all() and all((look == plain).all() for look in again.looks):
        return []
    return [health.error("aug.off", "a validation clip is augmented", "augment training clips alone")]


def averaged(task: SlowFastTask) -> list[Finding]:
    """The answer depends on the number of test clips, and on the mirror image."""
    model = task.build().eval()
    rows = task.data.cache.rows
    place = max(range(task.size("val")), key=lambda i: rows[task.records["val"][i].id].frames)
    one, several = task.replace(test_clips=1, test_flip=False), task.replace(test_clips=3, test_flip=False)
    flipped = task.replace(test_clips=1, test_flip=True)
    answers = []
    with torch.no_grad():
        for some in (one, several, flipped):
            batch = some.collate([some.items("val")[0, place]])
            answers.append(some.forward(model, batch).logits)
    same = [
        name
        for name, answer in (("test_clips", answers[1]), ("test_flip", answers[2]))
        if torch.allclose(answer, answers[0], rtol=0, atol=1e-6)
    ]
    if (
        not same
        or rows[task.records["val"][place].id].frames <= (task.config.frames - 1) * task.config.stride + 1
    ):
        return []
    return [
        health.error("tta.used", f"{' and '.join(same)} changes no answer", "average over the test clips")
    ]
