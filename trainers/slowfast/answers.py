"""Builds the network from the options, and computes class probabilities of clips."""

import torch
from torch import Tensor, nn

from trainers.slowfast import pixels
from trainers.slowfast.config import Config
from trainers.slowfast.data import CLASSES
from trainers.slowfast.model import Shape, SlowFast


def network(config: Config) -> SlowFast:
    """Return the network that the options describe, with random weights and frozen stages."""
    shape = Shape(
        len(CLASSES),
        config.depths,
        config.width,
        config.alpha,
        config.beta,
        config.fusion_kernel,
        config.squeeze,
        config.dropout,
    )
    model = SlowFast(shape)
    model.freeze(config.freeze)
    return model


def probabilities(model: nn.Module, frames: Tensor, config: Config) -> Tensor:
    """Return the softmax (V, C) of clips (V, T, S, S, 3) uint8.

    With `test_flip`, it is averaged with that of the mirror image. The network processes at most as many
    clips at once as in a training step.
    """
    answers = []
    for some in torch.split(frames, max(1, config.batch_size * config.clips_per_video)):
        images = pixels.centred(some, config.size)
        answer = model(images).float().softmax(1)
        if config.test_flip:
            answer = (answer + model(images.flip(-1)).float().softmax(1)) / 2
        answers.append(answer)
    return torch.cat(answers)
