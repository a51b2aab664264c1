"""Data and model checks of clips, their augmentation and averaging, and of the network."""

from typing import Any

import numpy as np
import torch

from trainers.engine import health, model_checks
from trainers.engine.check import on_data, on_model
from trainers.engine.health import Finding
from trainers.slowfast import clips, network, pixels


def short(trainer: Any) -> list[Finding]:
    """Most videos are at least as long as a clip: in shorter ones all test clips are identical."""
    config, records = trainer.config, trainer.data.records
    span = (config.frames - 1) * config.stride + 1
    some = [record.id for record in records if trainer.data.cache.rows[record.id].frames < span]
    if not some:
        return []
    message = f"{len(some)} of {len(records)} videos have fewer than the {span} frames of a clip"
    if len(some) <= 0.5 * len(records):
        return [health.info("clip.length", message, "none needed: their frames are spread over the clip")]
    return [health.warning("clip.length", message, "use fewer frames or a smaller stride", "frames")]


def normalised_once(trainer: Any) -> list[Finding]:
    """The values at the network's input have the range that Kinetics weights expect."""
    batch = model_checks.first_batch(trainer, trainer.config.batch_size)
    images = pixels.augmented(batch.frames.flatten(0, 1), trainer.config.size, batch.looks.flatten(0, 1))
    low, high = -pixels.MEAN / pixels.STD - 0.01, (1 - pixels.MEAN) / pixels.STD + 0.01
    mean, std, top = float(images.mean()), float(images.std()), float(images.abs().max())
    if abs(mean) < 2.0 and 0.05 < std < 3.0 and low <= float(images.min()) and float(images.max()) <= high:
        return []
    message = f"at the model's input mean {mean:.3g}, std {std:.3g}, largest {top:.3g}"
    return [health.error("norm.once", message, "pass frames as uint8 and normalise them once, on the device")]


def same_for_a_clip(trainer: Any) -> list[Finding]:
    """Augmentation changes all frames of a clip alike: a still clip stays still."""
    samples = [sample for _, sample in trainer.some_samples()[:4]]
    frames = torch.stack([torch.from_numpy(s.frames[:, :1].repeat(4, 1)) for s in samples]).flatten(0, 1)
    looks = torch.from_numpy(np.concatenate([s.looks for s in samples]))
    images = pixels.augmented(frames, trainer.config.size, looks)
    difference = float((images - images[:, :1]).abs().max())
    if difference < 1e-5:
        return []
    message = f"frames of a still clip differ by {difference:.2g} after augmentation"
    return [health.error("aug.clip", message, "draw once per clip: changes between frames look like motion")]


def off_in_validation(trainer: Any) -> list[Finding]:
    """Validation clips are the same in each epoch, and only cropped."""
    first, again = trainer.sample("val", 0, 0), trainer.sample("val", 7, 0)
    plain = clips.unchanged(trainer.config)
    if (first.frames == again.frames).all() and all((look == plain).all() for look in again.looks):
        return []
    return [health.error("aug.off", "a validation clip is augmented", "augment only training clips")]


def averaged(trainer: Any) -> list[Finding]:
    """The options test_clips and test_flip change the logits of a video."""
    trainer = trainer.lighter()
    model, config = trainer.build().eval(), trainer.config
    lengths = [trainer.data.cache.rows[record.id].frames for record in trainer.splits["val"]]
    longest = int(np.argmax(lengths))
    if lengths[longest] <= (config.frames - 1) * config.stride + 1:
        return []
    answers = []
    with torch.no_grad():
        for count, flip in ((1, False), (3, False), (1, True)):
            other = trainer.replace(test_clips=count, test_flip=flip)
            answers.append(other.logits(model, other.collate([other.sample("val", 0, longest)])))
    same = [
        name
        for name, answer in (("test_clips", answers[1]), ("test_flip", answers[2]))
        if torch.allclose(answer, answers[0], rtol=0, atol=1e-6)
    ]
    if not same:
        return []
    message = f"{' and '.join(same)} changes no answer"
    return [health.error("tta.used", message, "average over the test clips")]


def named(trainer: Any) -> list[Finding]:
    """The network is a SlowFast with the number of parameters that its options imply."""
    return network.named(trainer.build(), trainer.config)


def frames_used(trainer: Any) -> list[Finding]:
    """Every frame of a clip affects the logits."""
    light = trainer.lighter()
    return network.frames_used(light.build(), light.config)


def sees_time(trainer: Any) -> list[Finding]:
    """The features of both pathways change when a clip is played backwards."""
    light = trainer.lighter()
    return network.sees_time(light.build(), light.config)


def loader_share(trainer: Any) -> list[Finding]:
    """Reading the clips of a batch does not take longer than a training step."""
    return network.loader_share(trainer, trainer.lighter())


CHECKS = (
    on_data("clip.length", short),
    on_model("norm.once", normalised_once),
    on_model("aug.clip", same_for_a_clip),
    on_model("aug.off", off_in_validation),
    on_model("tta.used", averaged),
    on_model("model.is", named),
    on_model("frames.used", frames_used),
    on_model("time.seen", sees_time),
    on_model("throughput", loader_share),
)
