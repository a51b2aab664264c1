"""The checks of clips, their augmentation and averaging, and of the network."""

from typing import Any

import numpy as np
import torch

from trainers.engine import health, model_checks
from trainers.engine.check import on_data, on_model
from trainers.engine.health import Finding
from trainers.slowfast import clips, network, pixels


def short(trainer: Any) -> list[Finding]:
    """Most videos are at least as long as a clip: else their test clips are one and the same."""
    config, records = trainer.config, trainer.data.records
    span = (config.frames - 1) * config.stride + 1
    some = [record.id for record in records if trainer.data.cache.rows[record.id].frames < span]
    if not some:
        return []
    message = f"{len(some)} of {len(records)} videos have fewer than the {span} frames of a clip"
    if len(some) <= 0.5 * len(records):
        return [health.info("clip.length", message, "nothing: they are read evenly from end to end")]
    return [health.warning("clip.length", message, "fewer frames or a smaller stride", "frames")]


def normalised_once(trainer: Any) -> list[Finding]:
    """The values at the network's input are those that Kinetics weights expect."""
    batch = model_checks.first_batch(trainer, trainer.config.batch_size)
    images = pixels.augmented(batch.frames.flatten(0, 1), trainer.config.size, batch.looks.flatten(0, 1))
    low, high = -pixels.MEAN / pixels.STD - 0.01, (1 - pixels.MEAN) / pixels.STD + 0.01
    mean, std, top = float(images.mean()), float(images.std()), float(images.abs().max())
    if abs(mean) < 2.0 and 0.05 < std < 3.0 and low <= float(images.min()) and float(images.max()) <= high:
        return []
    message = f"at the model's input mean {mean:.3g}, std {std:.3g}, largest {top:.3g}"
    return [health.error("norm.once", message, "frames come as uint8 and are normalised once, on the device")]


def same_for_a_clip(trainer: Any) -> list[Finding]:
    """A still clip stays still when it is augmented: nothing is drawn anew for each frame."""
    samples = [sample for _, sample in trainer.some_samples()[:4]]
    frames = torch.stack([torch.from_numpy(s.frames[:, :1].repeat(4, 1)) for s in samples]).flatten(0, 1)
    looks = torch.from_numpy(np.concatenate([s.looks for s in samples]))
    images = pixels.augmented(frames, trainer.config.size, looks)
    difference = float((images - images[:, :1]).abs().max())
    if difference < 1e-5:
        return []
    message = f"frames of a still clip differ by {difference:.2g} after augmentation"
    return [health.error("aug.clip", message, "draw once a clip; what changes from frame to frame is motion")]


def off_in_validation(trainer: Any) -> list[Finding]:
    """A validation clip is the same in each epoch, and only cropped."""
    first, again = trainer.sample("val", 0, 0), trainer.sample("val", 7, 0)
    plain = clips.unchanged(trainer.config)
    if (first.frames == again.frames).all() and all((look == plain).all() for look in again.looks):
        return []
    return [health.error("aug.off", "a validation clip is augmented", "augment training clips alone")]


def averaged(trainer: Any) -> list[Finding]:
    """The answer depends on the number of test clips, and on the mirror image."""
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
    """The network is the one that its options name."""
    return network.named(trainer.build(), trainer.config)


def frames_used(trainer: Any) -> list[Finding]:
    """Every frame of a clip changes the answer."""
    light = trainer.lighter()
    return network.frames_used(light.build(), light.config)


def sees_time(trainer: Any) -> list[Finding]:
    """Both pathways tell forwards from backwards."""
    light = trainer.lighter()
    return network.sees_time(light.build(), light.config)


def loader_share(trainer: Any) -> list[Finding]:
    """Reading clips does not take longer than the network's step."""
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
