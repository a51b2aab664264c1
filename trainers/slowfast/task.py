"""SlowFast as the engine's task, and its use from a checkpoint alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainers.common import emotions, recordings
from trainers.common.recordings import Record
from trainers.engine import checkpoint, health, metrics, rng
from trainers.engine.config import parse
from trainers.engine.events import Events, Silent
from trainers.engine.task import Output, Summary
from trainers.slowfast import boxes, clips, data, files, pixels, rules, video, weights
from trainers.slowfast.config import Config
from trainers.slowfast.data import CLASSES, Batch, Data, Sample
from trainers.slowfast.model import Shape, SlowFast

NAME = "slowfast"


def shape(config: Config) -> Shape:
    """The network of these options."""
    return Shape(
        len(CLASSES),
        config.depths,
        config.width,
        config.alpha,
        config.beta,
        config.fusion_kernel,
        config.squeeze,
        config.dropout,
    )


def build(config: Config) -> SlowFast:
    """The model with start weights that the seed alone decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.word(config.seed, 4) >> 1)
        model = SlowFast(shape(config))
    model.freeze(config.freeze)
    return model


def shares(model: nn.Module, frames: Tensor, config: Config) -> Tensor:
    """(V, T, S, S, 3) uint8 clips to softmax (V, C), each averaged with its mirror image's.

    As many clips go through the network at once as in a step of the training.
    """
    found = []
    for some in frames.split(max(1, config.batch_size * config.clips_per_video)):
        seen = pixels.centred(some, config.size)
        answer = model(seen).float().softmax(1)
        if config.test_flip:
            answer = (answer + model(seen.flip(-1)).float().softmax(1)) / 2
        found.append(answer)
    return torch.cat(found)


class SlowFastTask:
    """See trainers.engine.task.Task."""

    name = NAME
    classes = CLASSES
    counts_size = len(CLASSES) ** 2

    def __init__(self, config: Config, held: Data, pretrained: Path | None = None) -> None:
        self.config = config
        self.data = held
        self.records = held.by_split()
        self.pretrained = pretrained
        self.weights = self._class_weights()
        self.fingerprint = held.cache.fingerprint([record.id for record in held.records])
        if pretrained is not None:
            self.fingerprint += "+" + weights.digest(pretrained)[:32]

    def _class_weights(self) -> Tensor:
        """(C,) float32: N / (C n_c) over the training split, or ones."""
        labels = [CLASSES.index(record.label) for record in self.records["train"]]
        counts = np.bincount(labels, minlength=len(CLASSES))
        if not self.config.class_weights:
            return torch.ones(len(CLASSES))
        return torch.tensor(len(labels) / (len(CLASSES) * np.maximum(counts, 1))).float()

    def but(self, **changes: Any) -> "SlowFastTask":
        """The same data with other options; for probes."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.config = self.config.but(**changes)
        return copy

    def size(self, split: str) -> int:
        """Videos of a split."""
        return len(self.records[split])

    def items(self, split: str) -> data.TrainItems | data.TestItems:
        """The videos of a split: drawn and changed in train, the same each time elsewhere."""
        kind = data.TrainItems if split == "train" else data.TestItems
        return kind(self.records[split], self.data.cache, self.config)

    def names(self, split: str, indices: Sequence[int]) -> list[str]:
        """Record ids."""
        return [self.records[split][index].id for index in indices]

    def groups(self, split: str) -> list[str]:
        """Actors."""
        return [record.actor for record in self.records[split]]

    def collate(self, samples: list[Sample]) -> Batch | None:
        """Samples to a batch."""
        return data.collate(samples)

    def build(self) -> SlowFast:
        """The model with its start weights: those of the user's file where there is one."""
        model = build(self.config)
        if self.pretrained is not None:
            weights.take(model, weights.read(self.pretrained))
        return model

    def rate_factors(self, model: nn.Module) -> dict[str, float]:
        """Each parameter's share of the learning rate: less, the nearer to the input."""
        assert isinstance(model, SlowFast)
        stages, names = model.stages, {id(p): name for name, p in model.named_parameters()}
        return {
            names[id(p)]: self.config.layer_decay ** (len(stages) - 1 - place)
            for place, stage in enumerate(stages)
            for part in stage
            for p in part.parameters()
        }

    def forward(self, model: nn.Module, batch: Batch) -> Output:
        """Cross entropy, each video weighed by its class; a video's answer is its clips' mean softmax."""
        number, views = batch.frames.shape[:2]
        if model.training:
            losses, answers = self._train(model, batch)
        else:
            found = shares(model, batch.frames.flatten(0, 1), self.config)
            answers = found.unflatten(0, (number, views)).mean(1)
            losses = -answers.gather(1, batch.labels[:, None])[:, 0].clamp_min(1e-12).log()
        weight = self.weights.to(losses.device)[batch.labels]
        chosen = answers.argmax(1)
        counts = torch.bincount(batch.labels * len(CLASSES) + chosen, minlength=self.counts_size)
        hits = (chosen == batch.labels).to(losses.dtype)
        logits = answers.clamp_min(1e-12).log()
        return Output((losses * weight).sum(), weight.sum(), counts.to(losses.dtype), hits, logits)

    def _train(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Each video's loss (B,), the mean of its clips', and its mean softmax (B, C)."""
        number, views = batch.frames.shape[:2]
        seen = pixels.augmented(batch.frames.flatten(0, 1), self.config.size, batch.looks.flatten(0, 1))
        logits = model(seen, batch.keys.flatten()).float()
        labels = batch.labels.repeat_interleave(views)
        losses = cross_entropy(logits, labels, reduction="none", label_smoothing=self.config.label_smoothing)
        answers = logits.detach().softmax(1).unflatten(0, (number, views)).mean(1)
        return losses.unflatten(0, (number, views)).mean(1), answers

    def summarise(self, counts: Sequence[float]) -> Summary:
        """Metrics and confusion matrix."""
        size = len(CLASSES)
        confusion = np.asarray(counts).round().astype(int).reshape(size, size)
        return Summary(metrics.summarise(confusion), list(CLASSES), confusion.tolist())

    def preprocessing(self) -> dict[str, Any]:
        """All that turns a video into what the network sees."""
        config = self.config
        return {
            "classes": list(CLASSES),
            "labels": {"ravdess": emotions.RAVDESS_EMOTIONS, "crema": emotions.CREMA_EMOTIONS},
            "normalisation": {"kind": "(x / 255 - mean) / std", "mean": pixels.MEAN, "std": pixels.STD},
            "input": {
                "crop": config.crop,
                "scaled_to": config.cache_size,
                "kept_as": f"jpeg {video.QUALITY}" if config.cache_format == "jpeg" else "raw",
                "centre": config.size,
                "frames": config.frames,
                "stride": config.stride,
                "clips": config.test_clips,
                "flip": config.test_flip,
            },
        }


def open_task(config: Config, folders: Mapping[str, Path], cache_root: Path, events: Events) -> SlowFastTask:
    """The task over these folders. Raises DataUnusable."""
    task, findings = opened(config, folders, cache_root, events, SlowFastTask)
    if task is None:
        raise health.DataUnusable(findings)
    return task


def opened(
    config: Config, folders: Mapping[str, Path], root: Path, events: Events, kind: type[SlowFastTask]
) -> tuple[SlowFastTask | None, list[health.Finding]]:
    """The task, or why there is none."""
    chosen, findings = rules.choose({name: str(path) for name, path in folders.items()}, config)
    if chosen is None:
        return None, findings
    try:
        held = data.load(chosen, config, folders, root, events)
        pretrained = weights.find(folders["weights"]) if "weights" in folders else None
        if pretrained:
            weights.take(build(config), weights.read(pretrained))
    except (boxes.BadBoxes, weights.Unfit) as fault:
        code, fix = ("faces", "give every video a box, or set crop: centre"), "take the file of this network"
        at = code if isinstance(fault, boxes.BadBoxes) else ("weights.fit", fix)
        return None, [health.error(at[0], str(fault), at[1])]
    empty = rules.nonempty(held.by_split(), held.refused, held.found)
    return (None, empty) if empty else (kind(config, held, pretrained), [])


def run_rules(task: SlowFastTask) -> list[health.Finding]:
    """The rules of names, labels and splits, asked once more when a run starts."""
    held = task.data
    return rules.check(held.records, held.refused, held.chosen, task.config)


@dataclass(frozen=True)
class Restored:
    """A model from its checkpoint, with the options that say how a video comes to it."""

    config: Config
    model: SlowFast

    @torch.no_grad()
    def answer(self, seen: video.Video) -> Tensor:
        """A video to its probabilities (C,): the mean over clips and mirror images."""
        kept = data.kind(self.config).as_kept(seen.frames)
        wanted = clips.spread(self.config, len(kept), self.config.test_clips)
        frames = torch.from_numpy(np.stack([kept[numbers] for numbers in wanted]))
        return shares(self.model, frames, self.config).mean(0)


def restore(held: checkpoint.Checkpoint) -> Restored:
    """Strictly: raises Damaged where the checkpoint is not of this model."""
    config, findings = parse(Config, held.manifest["config"])
    if findings or held.manifest["trainer"] != NAME:
        raise checkpoint.Damaged(f"{held.path} is no checkpoint of this version of {NAME}")
    if held.manifest["preprocessing"]["classes"] != list(CLASSES):
        raise checkpoint.Damaged(f"{held.path} knows other classes")
    model = build(config)
    checkpoint.load_weights(model, held)
    model.eval()
    return Restored(config, model)


def predict(held: checkpoint.Checkpoint, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """For each video its class and probabilities, or the error that kept it from one."""
    restored = restore(held)
    for path in paths:
        try:
            answer = restored.answer(read(path, restored.config))
        except (video.Unusable, video.MissingPackage, boxes.BadBoxes) as fault:
            yield {"file": str(path), "error": str(fault)}
            continue
        values = answer.tolist()
        probabilities = dict(zip(CLASSES, values, strict=True))
        told = {"file": str(path), "label": CLASSES[int(answer.argmax())], "probabilities": probabilities}
        yield {**told, **_truth(path, restored.config)}


def read(path: Path, config: Config) -> video.Video:
    """A video as the training saw it; with crop: faces its box stands in faces.csv beside it."""
    box = None
    if config.crop == "faces":
        held = boxes.read(path.parent)
        if files.stem(path.name) not in held:
            raise boxes.BadBoxes(f"{path.name} has no line in {path.parent / boxes.NAME}")
        box = held[files.stem(path.name)]
    return video.read(path, config.cache_size, box)


def _truth(path: Path, config: Config) -> dict[str, str]:
    try:
        label, _ = recordings.label_of(emotions.parse(files.stem(path.name)), config)
    except emotions.BadName:
        return {}
    return {"truth": label} if label else {}


def evaluate(
    held: checkpoint.Checkpoint, folders: Mapping[str, Path], split: str, work: Path
) -> dict[str, Any]:
    """Metrics of the checkpoint on a split of these folders (`all`: on every usable video)."""
    restored = restore(held)
    config = restored.config
    chosen, findings = rules.choose({name: str(path) for name, path in folders.items()}, config)
    if chosen is None:
        raise health.DataUnusable(findings)
    found = data.load(chosen, config, folders, work, Silent())
    records = [r for r in found.records if split in ("all", chosen.home[r.id])]
    if not records:
        raise health.DataUnusable(rules.nothing(split, found.refused, found.found))
    truth = np.array([CLASSES.index(record.label) for record in records])
    answers = np.array(list(_answers(restored, records, found)))
    confusion = metrics.confusion_counts(truth, answers, len(CLASSES))
    right = (truth == answers).tolist()
    low, high = metrics.bootstrap_interval(right, [record.actor for record in records], config.seed)
    whole = found.cache.fingerprint([record.id for record in found.records])
    return {
        "checkpoint": str(held.path),
        "step": held.manifest["step"],
        "split": split,
        "samples": len(records),
        "refused": len(found.refused),
        "same_data": held.manifest["data"].partition("+")[0] == whole,
        "values": {**metrics.summarise(confusion), "accuracy_low": low, "accuracy_high": high},
        "per_class": metrics.per_class(confusion, CLASSES),
        "classes": list(CLASSES),
        "confusion": confusion.tolist(),
    }


@torch.no_grad()
def _answers(restored: Restored, records: Sequence[Record], found: Data) -> Iterator[int]:
    items = data.TestItems(records, found.cache, restored.config)
    for place in range(len(records)):
        frames = torch.from_numpy(items[0, place].frames)
        yield int(shares(restored.model, frames, restored.config).mean(0).argmax())
