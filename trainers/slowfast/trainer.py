"""The trainer `slowfast`: classifies emotion from clips of a video with a SlowFast network."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainers.data.recordings import Record
from trainers.data.refusal import Unusable
from trainers.engine import checkpoint, health, rng
from trainers.engine.check import Check
from trainers.engine.checkpoint import Checkpoint
from trainers.engine.events import Events
from trainers.engine.export import Exportable
from trainers.engine.health import DataUnusable
from trainers.engine.output import Output
from trainers.slowfast import answers, boxes, checks, clips, data, file_checks, pixels, video, weights
from trainers.slowfast.config import Config
from trainers.slowfast.data import Batch, Data, Sample
from trainers.slowfast.model import SlowFast
from trainers.tasks.classifier import Reading
from trainers.tasks.recordings import RecordingTrainer

SMALL_FRAMES, SMALL_SIZE = 8, 64
"""Frames and size of the clips in checks that train, which must not take more than a minute on a CPU."""

AUGMENTATION = ("flip", "rotate", "zoom", "shift", "colour", "cutout", "reverse", "drop_frames")


class SlowFastTrainer(RecordingTrainer):
    """Classifies clips of videos; see trainers.engine.trainer.Trainer for the methods."""

    name = "slowfast"
    options = Config
    config: Config
    data: Data
    files_compared: ClassVar[int] = 16
    answers_compared: ClassVar[int] = 3

    @classmethod
    def load(cls, config: Any, folders: Mapping[str, Path], cache: Path, events: Events) -> Data:
        """List the videos, assign splits, decode frames into the cache, and find pretrained weights.

        Raises DataUnusable if a video has no face box, or if the weights do not fit the network.
        """
        survey = file_checks.scan(folders, config)
        try:
            videos = data.load(survey, config, folders, cache, events)
            pretrained = weights.find(folders["weights"]) if "weights" in folders else None
            if pretrained:
                weights.take(answers.network(config), weights.read(pretrained))
        except boxes.BadBoxes as fault:
            how = "gpujob prepare slowfast --crema DIR --faces face_landmarker.task --to splits"
            fix = f"{how} finds the faces, and excludes videos without one in splits; or set crop: centre"
            raise DataUnusable([health.error("faces", str(fault), fix)]) from fault
        except weights.Unfit as fault:
            fix = "use weights of the network that the options describe"
            raise DataUnusable([health.error("weights.fit", str(fault), fix)]) from fault
        if pretrained is None:
            return videos
        return replace(videos, pretrained=pretrained, extra=checkpoint.sha256(pretrained)[:32])

    def fit(self) -> dict[str, Any]:
        """Return classes, normalisation, and how clips are cropped, scaled and selected from a video."""
        config = self.config
        return {
            **self.class_facts(),
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

    # Samples

    def sample(self, split: str, epoch: int, index: int) -> Sample:
        """Return the clips of a video: drawn by (seed, epoch, video, clip) in train, else spread evenly."""
        record, config = self.splits[split][index], self.config
        if split != "train":
            return self.encode(self.features(record, split, epoch), index, self.label(record))
        count = config.clips_per_video
        seeds = [rng.derive_seed(config.seed, rng.CLIP, epoch, index, clip) for clip in range(count)]
        drawn = [clips.draw(config, self.data.cache.rows[record.id].frames, seed) for seed in seeds]
        frames = np.stack([self.data.cache.frames(record.id, clip.frames) for clip in drawn])
        looks = np.stack([clip.look for clip in drawn])
        return Sample(index, self.label(record), frames, looks, tuple(seed & 0xFFFFFFFF for seed in seeds))

    def features(self, record: Record, split: str, epoch: int) -> np.ndarray:
        """Return the evenly spread test clips of a video, (V, T, S, S, 3) uint8."""
        numbers = self._test_clips(self.data.cache.rows[record.id].frames)
        return np.stack([self.data.cache.frames(record.id, one) for one in numbers])

    def _test_clips(self, length: int) -> list[np.ndarray]:
        return clips.spread(self.config, length, self.config.test_clips)

    def encode(self, features: Any, index: int = 0, label: int = 0, key: int = 0) -> Sample:
        """Return a sample of clips (V, T, S, S, 3) without augmentation."""
        looks = np.stack([clips.unchanged(self.config)] * len(features))
        return Sample(index, label, features, looks, (key,) * len(features))

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Stack samples with the same number of clips into a batch."""
        return data.collate(samples)

    def read(self, path: Path) -> Iterator[Reading]:
        """Yield the test clips of a video, encoded as in training, and its class if the file name has it.

        With `crop: faces`, the box of the video is read from faces.csv in its folder.
        """
        try:
            frames = self._frames(path)
        except (video.MissingPackage, boxes.BadBoxes) as fault:
            yield Reading(str(path), error=str(fault))
            return
        kept = data.kind(self.config).as_kept(frames)
        features = np.stack([kept[numbers] for numbers in self._test_clips(len(kept))])
        yield Reading(str(path), features, self.truth(path))

    def _frames(self, path: Path) -> np.ndarray:
        box = None
        if self.config.crop == "faces":
            faces = boxes.read(path.parent)
            if self.stem(path.name) not in faces:
                raise boxes.BadBoxes(f"{path.name} has no line in {path.parent / boxes.NAME}")
            box = faces[self.stem(path.name)]
        return video.read(path, self.config.cache_size, box).frames

    def picture(self, record: Record, folder: Path | None) -> np.ndarray | None:
        """The frame in the middle of the video."""
        try:
            frames = self._frames(record.path)
        except (Unusable, video.MissingPackage, boxes.BadBoxes):
            return None
        middle: np.ndarray = frames[len(frames) // 2]
        return middle

    def same_content(self, record: Record, sample: Sample) -> bool:
        """Return whether every frame of the sample is a frame of its file; always True with `crop: faces`."""
        if self.config.crop != "centre":
            return True
        frames = video.read(record.path, self.config.cache_size).frames
        raw = data.kind(self.config).as_kept(frames)
        kept = {frame.tobytes() for frame in raw}
        return all(frame.tobytes() in kept for frame in sample.frames.reshape(-1, *raw.shape[1:]))

    # Model and loss

    def model(self) -> SlowFast:
        """Return the network that the options describe, with random weights."""
        return answers.network(self.config)

    def build(self) -> nn.Module:
        """Return the network, initialised with the pretrained weights if the data folders contain some."""
        model = super().build()
        if hasattr(self, "data") and self.data.pretrained is not None:
            assert isinstance(model, SlowFast)
            weights.take(model, weights.read(self.data.pretrained))
        return model

    def rate_factors(self, model: nn.Module) -> dict[str, float]:
        """Return each parameter's factor of the learning rate, layer_decay per stage from the output."""
        assert isinstance(model, SlowFast)
        stages, names = model.stages, {id(p): name for name, p in model.named_parameters()}
        return {
            names[id(p)]: self.config.layer_decay ** (len(stages) - 1 - index)
            for index, stage in enumerate(stages)
            for part in stage
            for p in part.parameters()
        }

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the logarithm of the mean softmax over a video's clips, (B, C), in eval mode."""
        probabilities = answers.probabilities(model, batch.frames.flatten(0, 1), self.config)
        return probabilities.view(*batch.frames.shape[:2], -1).mean(1).clamp_min(1e-12).log()

    def loss(self, model: nn.Module, batch: Batch) -> Output:
        """Return the cross entropy: in training the mean over the clips, else that of their mean softmax."""
        if not model.training:
            logits = self.logits(model, batch)
            return self.output(-logits.gather(1, batch.labels[:, None])[:, 0], logits, batch.labels)
        shape = batch.frames.shape[:2]
        images = pixels.augmented(batch.frames.flatten(0, 1), self.config.size, batch.looks.flatten(0, 1))
        of_clips = model(images, batch.keys.flatten()).float()
        labels = batch.labels.repeat_interleave(shape[1])
        smoothing = self.config.label_smoothing
        losses = cross_entropy(of_clips, labels, reduction="none", label_smoothing=smoothing)
        mean = of_clips.detach().softmax(1).view(*shape, -1).mean(1)
        return self.output(losses.view(shape).mean(1), mean.clamp_min(1e-12).log(), batch.labels)

    # Checks and export

    def lighter(self) -> "SlowFastTrainer":
        """Return a trainer of the same network on shorter and smaller clips."""
        config = self.config
        frames = min(config.frames, max(SMALL_FRAMES, 2 * config.alpha))
        stride = max(1, config.frames * config.stride // frames)
        return self.replace(frames=frames, size=min(config.size, SMALL_SIZE), stride=stride)

    def without_regularisation(self) -> "SlowFastTrainer":
        """Return a trainer without augmentation and label smoothing, with one clip per training video."""
        off = dict.fromkeys(AUGMENTATION, 0.0)
        return self.replace(**off, clips_per_video=1, test_flip=False, label_smoothing=0.0)

    @classmethod
    def checks(cls, standard: Sequence[Check]) -> list[Check]:
        """Return the checks of clips and network, followed by those of every trainer of recordings."""
        return [*checks.CHECKS, *super().checks(standard)]

    def exportable(self, saved: Checkpoint) -> Exportable:
        """Return the program to export, for any number of clips of the checkpoint's length and size."""
        config = self.config
        shape = (2, config.frames, config.cache_size, config.cache_size, 3)
        numbers = torch.arange(2 * config.frames * config.cache_size**2 * 3)
        example = numbers.mul(2654435761).bitwise_right_shift(11).bitwise_and(255).to(torch.uint8)
        about = {
            "frames": "RGB, uint8: the largest central square of each picture, scaled by area averaging",
            "clips": f"{config.test_clips} clips spread evenly over a video, every {config.stride}. frame",
            "answer": "mean of the softmax over clips"
            + (" and their mirror images (the last axis but one reversed)" if config.test_flip else ""),
        }
        program = Program(self.network, config.size).eval()
        return Exportable(program, {"frames": example.view(shape)}, {"frames": {0: "clips"}}, about)


class Program(nn.Module):
    """The exported program: maps clips (N, T, S, S, 3) uint8 to logits (N, C), preprocessing included."""

    def __init__(self, model: nn.Module, size: int) -> None:
        super().__init__()
        self.model, self.size = model, size

    def forward(self, frames: Tensor) -> Tensor:
        """Crop clips (N, T, S, S, 3) uint8 to the centre, normalise them, and return logits (N, C)."""
        return self.model(pixels.centred(frames, self.size))  # type: ignore[no-any-return]
