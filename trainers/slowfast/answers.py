"""The network of some options, and its averaged answer to clips."""

import torch
from torch import Tensor, nn

from trainers.engine import rng
from trainers.slowfast import pixels
from trainers.slowfast.config import Config
from trainers.slowfast.data import CLASSES
from trainers.slowfast.model import Shape, SlowFast


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
        torch.manual_seed(rng.derive_seed(config.seed, 4) >> 1)
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
