"""The network of some options, and its averaged answer to clips."""

import torch
from torch import Tensor, nn

from trainers.slowfast import pixels
from trainers.slowfast.config import Config
from trainers.slowfast.data import CLASSES
from trainers.slowfast.model import Shape, SlowFast


def network(config: Config) -> SlowFast:
    """The network of these options, with fresh weights."""
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
    """(V, T, S, S, 3) uint8 clips to softmax (V, C), each averaged with its mirror image's.

    As many clips go through the network at once as in a step of the training.
    """
    answers = []
    for some in torch.split(frames, max(1, config.batch_size * config.clips_per_video)):
        images = pixels.centred(some, config.size)
        answer = model(images).float().softmax(1)
        if config.test_flip:
            answer = (answer + model(images.flip(-1)).float().softmax(1)) / 2
        answers.append(answer)
    return torch.cat(answers)
