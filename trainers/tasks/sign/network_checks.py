"""The checks of a sign language model: its checkpoint, padding, length, locality and size."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from trainers.data.frames import Frames
from trainers.data.landmarks import RAW
from trainers.data.sign.batch import Sample
from trainers.engine import health
from trainers.engine.check import on_model
from trainers.engine.health import Finding
from trainers.tasks import classifier_checks
from trainers.tasks.sign.ctc_checks import shortest

STEPS, LEAST_SHIFT = 256, 0.9
"""Frames of the input in the checks of locality and shift, many enough that distant frames are out of reach
of the convolutions and the norms' statistics hardly change; minimum correlation of shifted features."""

FAR_TO_NEAR = 0.5
"""Maximum change of distant frames as a fraction of near ones. A model that averages over time has 0.97."""

LARGEST = 0.5
"""Fraction of all parameters in one layer above which there is a warning."""


def _logits(model: nn.Module, trainer: Any, *samples: Sample) -> Tensor:
    """Logits (T', V) of the first sample, computed in a batch with the others."""
    batch = trainer.collate(samples)
    answer: Tensor = model(trainer.frames(batch), batch.keys)
    return answer[0].float()


@torch.no_grad()
def restored_answers(trainer: Any) -> list[Finding]:
    """A model restored from a checkpoint gives the training's logits for the same raw features."""
    model, samples = trainer.build().eval(), shortest(trainer)[:4]
    with TemporaryDirectory(prefix="gpujob-check-") as folder:
        restored = type(trainer).restore(classifier_checks.save(trainer, model, Path(folder)))
    off = max(
        float((_logits(model, trainer, sample) - restored.logits(sample.course.raw)).abs().max())
        for sample in samples
    )
    if off < classifier_checks.TOLERANCE:
        return []
    fix = "all that turns raw input into the model's must be in the checkpoint"
    return [health.error("norm.saved", f"logits from the checkpoint differ by {off:.2g}", fix)]


@torch.no_grad()
def padding(trainer: Any) -> list[Finding]:
    """Padding a sentence to a longer one's length does not change its logits, in train and eval mode."""
    samples, model = shortest(trainer), trainer.build()
    for mode in ("eval", "train"):
        model.train(mode == "train")
        alone = _logits(model, trainer, samples[0])
        padded = _logits(model, trainer, samples[0], samples[-1])[: len(alone)]
        off = float((alone - padded).abs().max())
        if not off < 1e-4:
            message = f"in {mode} mode a padded sentence's logits differ by {off:.2g} from those of it alone"
            fix = "mask the padding everywhere: attention, norms, pooling, packed recurrent layers"
            return [health.error("pad.invariance", message, fix)]
    return []


def noise(steps: int, seed: int = 3) -> Frames:
    """Gaussian noise (1, T, 4887) as Frames that count as normalised."""
    generator = torch.Generator().manual_seed(seed)
    values = 0.3 * torch.randn(1, steps, 3 * RAW, generator=generator)
    return Frames(values, torch.tensor([steps]), "made up")


@torch.no_grad()
def exact_length(trainer: Any, longest: int = 41, also: Sequence[int] = (100, 177, 300)) -> list[Finding]:
    """For every number of input frames, the output has the length that `out_lengths` declares."""
    model, keys = trainer.build().eval(), torch.zeros(1, dtype=torch.long)
    values, wrong = noise(max(longest, *also, 1)).values, []
    for steps in (*range(1, longest), *also):
        declared = int(trainer.out_lengths(torch.tensor(steps)))
        actual = model(Frames(values[:, :steps], torch.tensor([steps]), "made up"), keys).shape[1]
        if actual != declared:
            wrong.append(f"{steps} frames give {actual}, not {declared}")
    fix = "round up when halving the length, and cut upsampled output to the input's length"
    return [health.error("len.exact", health.first(wrong), fix)] if wrong else []


def _backbone(model: Any, frames: Frames) -> Tensor:
    """Features (T', C) before the recurrent layer, which mixes all frames by design."""
    features: Tensor = model.backbone(frames, torch.zeros(1, dtype=torch.long))
    return features[0].float()


@torch.no_grad()
def far_to_near(trainer: Any, model: nn.Module) -> float:
    """Change of distant frames, as a fraction of that of near ones, when frames 124 to 131 of 256 change."""
    frames, other = noise(STEPS), noise(STEPS, 4)
    changed = frames.values.clone()
    changed[:, 124:132] += other.values[:, 124:132]
    before = _backbone(model.eval(), frames)
    after = _backbone(model, Frames(changed, frames.lengths, frames.normalised))
    change, stride = (after - before).abs().mean(1), trainer.stride
    near = change[120 // stride : 136 // stride].mean()
    far = torch.cat([change[: 64 // stride], change[-64 // stride :]]).mean()
    return float(far / near)


def locality(trainer: Any) -> list[Finding]:
    """A change in the middle of a sentence hardly changes distant frames before the recurrent layer."""
    ratio = far_to_near(trainer, trainer.build())
    if ratio < FAR_TO_NEAR:
        return []
    message = f"a change of frames 124 to 131 changes far frames {ratio:.2f} times as much as near ones"
    fix = "some layer before the recurrent one averages over time: every step becomes the same"
    return [health.error("collapse.locality", message, fix)]


@torch.no_grad()
def shift(trainer: Any) -> list[Finding]:
    """Shifting the input by four frames shifts the features by four frames."""
    model, frames = trainer.build().eval(), noise(STEPS + 4)
    lengths = torch.tensor([STEPS])
    first, later = (
        _backbone(model, Frames(frames.values[:, at : at + STEPS], lengths, frames.normalised))
        for at in (0, 4)
    )
    by, edge = 4 // trainer.stride, 16 // trainer.stride
    a, b = first[edge + by : -edge].flatten(), later[edge : -edge - by].flatten()
    correlation = float(torch.corrcoef(torch.stack([a, b]))[0, 1])
    if correlation > LEAST_SHIFT:
        return []
    message = f"shifting the input by 4 frames does not shift the features: correlation {correlation:.2f}"
    fix = "some layer depends on the position in time: look at strides"
    return [health.error("collapse.shift", message, fix)]


def budget(trainer: Any) -> list[Finding]:
    """The model has the number of parameters of its preset, and no layer has most of them."""
    sizes = {name: p.numel() for name, p in trainer.build().named_parameters()}
    total, largest = sum(sizes.values()), max(sizes, key=lambda name: sizes[name])
    expected = trainer.expected_parameters
    fraction = sizes[largest] / total
    message = f"{total:,} parameters, {fraction:.0%} of them in {largest}"
    if total != expected:
        message += f"; the preset {trainer.config.preset} has {expected:,}"
        return [health.error("param.budget", message, "the model is not the one that its preset names")]
    if fraction > LARGEST:
        return [health.warning("param.budget", message, "a preset of bounded encoders is smaller and faster")]
    return [health.info("param.budget", message)]


CHECKS = (
    on_model("norm.saved", restored_answers),
    on_model("pad.invariance", padding),
    on_model("len.exact", exact_length),
    on_model("collapse.locality", locality),
    on_model("collapse.shift", shift),
    on_model("param.budget", budget),
)
