"""SlowFast as the engine's task."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainers.data import emotions
from trainers.engine import health
from trainers.engine.events import Events
from trainers.engine.task import Output, Summary
from trainers.slowfast import answers, boxes, data, pixels, rules, video, weights
from trainers.slowfast.config import NAME, Config
from trainers.slowfast.data import CLASSES, Batch, Data, Sample
from trainers.slowfast.model import SlowFast
from trainers.slowfast.use import evaluate, exportable, predict, restore
from trainers.tasks import classify

__all__ = ["SlowFastTask", "evaluate", "exportable", "open_task", "opened", "predict", "restore", "run_rules"]


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
        self.fingerprint = held.fingerprint
        if pretrained is not None:
            self.fingerprint += "+" + weights.digest(pretrained)[:32]

    def _class_weights(self) -> Tensor:
        """(C,) float32: N / (C n_c) over the training split, or ones."""
        if not self.config.class_weights:
            return torch.ones(len(CLASSES))
        labels = [CLASSES.index(record.label) for record in self.records["train"]]
        return classify.class_weights(labels, len(CLASSES))

    def replace(self, **changes: Any) -> "SlowFastTask":
        """The same data with other options; for probes."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.config = self.config.replace(**changes)
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

    units = groups

    def collate(self, samples: list[Sample]) -> Batch | None:
        """Samples to a batch."""
        return data.collate(samples)

    def build(self) -> SlowFast:
        """The model with its start weights: those of the user's file where there is one."""
        model = answers.build(self.config)
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
            losses, shares = self._train(model, batch)
        else:
            found = answers.shares(model, batch.frames.flatten(0, 1), self.config)
            shares = found.unflatten(0, (number, views)).mean(1)
            losses = -shares.gather(1, batch.labels[:, None])[:, 0].clamp_min(1e-12).log()
        weight = self.weights.to(losses.device)[batch.labels]
        chosen = shares.argmax(1)
        counts = torch.bincount(batch.labels * len(CLASSES) + chosen, minlength=self.counts_size)
        correct = (chosen == batch.labels).to(losses.dtype)
        logits = shares.clamp_min(1e-12).log()
        return Output((losses * weight).sum(), weight.sum(), counts.to(losses.dtype), correct, logits)

    def _train(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Each video's loss (B,), the mean of its clips', and its mean softmax (B, C)."""
        number, views = batch.frames.shape[:2]
        seen = pixels.augmented(batch.frames.flatten(0, 1), self.config.size, batch.looks.flatten(0, 1))
        logits = model(seen, batch.keys.flatten()).float()
        labels = batch.labels.repeat_interleave(views)
        losses = cross_entropy(logits, labels, reduction="none", label_smoothing=self.config.label_smoothing)
        shares = logits.detach().softmax(1).unflatten(0, (number, views)).mean(1)
        return losses.unflatten(0, (number, views)).mean(1), shares

    def summarise(self, counts: Sequence[float]) -> Summary:
        """Metrics and confusion matrix."""
        return classify.summary(counts, CLASSES)

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
            weights.take(answers.build(config), weights.read(pretrained))
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
