"""A SlowFast from its checkpoint alone: answers for videos, metrics of a split, a program to export."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.data import emotions, recordings
from trainers.data.recordings import Record
from trainers.data.refusal import Unusable
from trainers.engine import checkpoint, health, seen
from trainers.engine.config import parse
from trainers.engine.events import Silent
from trainers.engine.export import Exportable
from trainers.slowfast import answers, boxes, clips, data, files, pixels, rules, video
from trainers.slowfast.config import NAME, Config
from trainers.slowfast.data import CLASSES, Data
from trainers.slowfast.model import SlowFast
from trainers.tasks import classify


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
        return answers.shares(self.model, frames, self.config).mean(0)


def restore(held: checkpoint.Checkpoint) -> Restored:
    """Strictly: raises Damaged where the checkpoint is not of this model."""
    config, findings = parse(Config, held.manifest["config"])
    if findings or held.manifest["trainer"] != NAME:
        raise checkpoint.Damaged(f"{held.path} is no checkpoint of this version of {NAME}")
    if held.manifest["preprocessing"]["classes"] != list(CLASSES):
        raise checkpoint.Damaged(f"{held.path} knows other classes")
    model = answers.build(config)
    checkpoint.load_weights(model, held)
    model.eval()
    return Restored(config, model)


def predict(held: checkpoint.Checkpoint, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """For each video its class and probabilities, or the error that kept it from one."""
    restored = restore(held)
    for path in paths:
        try:
            answer = restored.answer(read(path, restored.config))
        except (Unusable, health.DataUnusable, video.MissingPackage, boxes.BadBoxes) as fault:
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
    records, told = seen.unseen(held, found.fingerprint, split, records, lambda record: record.actor)
    truth = np.array([CLASSES.index(record.label) for record in records])
    shares = np.stack(list(_shares(restored, records, found)))
    names, actors = [record.id for record in records], [record.actor for record in records]
    return {
        "checkpoint": str(held.path),
        "step": held.manifest["step"],
        "split": split,
        "samples": len(records),
        "refused": len(found.refused),
        **told,
        **classify.scores(truth, shares, CLASSES, names, actors, config.seed),
    }


@torch.no_grad()
def _shares(restored: Restored, records: Sequence[Record], found: Data) -> Iterator[np.ndarray]:
    """Each video's probabilities (C,)."""
    items = data.TestItems(records, found.cache, restored.config)
    for place in range(len(records)):
        frames = torch.from_numpy(items[0, place].frames)
        yield answers.shares(restored.model, frames, restored.config).mean(0).numpy()


class Program(nn.Module):
    """What is exported: uint8 clips (N, T, S, S, 3) to logits (N, C), preprocessing and all."""

    def __init__(self, restored: Restored) -> None:
        super().__init__()
        self.model, self.size = restored.model, restored.config.size

    def forward(self, frames: Tensor) -> Tensor:
        """Crop to the middle, normalise, answer."""
        return self.model(pixels.centred(frames, self.size))  # type: ignore[no-any-return]


def exportable(held: checkpoint.Checkpoint) -> Exportable:
    """The program for clips of this checkpoint's length and size, any number at once."""
    restored = restore(held)
    config = restored.config
    shape = (2, config.frames, config.cache_size, config.cache_size, 3)
    example = (
        torch.arange(2 * config.frames * config.cache_size**2 * 3).mul(2654435761).bitwise_right_shift(11)
    )
    about = {
        "frames": "RGB, uint8: the largest square in the middle of each picture, scaled over areas",
        "clips": f"{config.test_clips} clips spread evenly over a video, every {config.stride}. frame",
        "answer": "the mean of the softmax over clips"
        + (" and their mirror images (the last axis but one reversed)" if config.test_flip else ""),
    }
    inputs = {"frames": example.bitwise_and(255).to(torch.uint8).view(shape)}
    return Exportable(Program(restored).eval(), inputs, {"frames": {0: "clips"}}, about)
