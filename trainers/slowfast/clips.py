"""Which frames a clip has, and how a training changes it: drawn once a clip, from counters alone.

Time is decided here, by the frames that are asked for; pixels are changed on the device (pixels.py), by the
numbers drawn here. They hold for a whole clip: what changed from frame to frame would be motion.
"""

import math
from dataclasses import dataclass

import numpy as np

from trainers.slowfast.config import Config

LOOK = 13
"""Numbers by which a clip's pixels are changed: a map of places (2 x 3), factors of brightness, contrast and
saturation, and the cut-out rectangle: middle x, y and half its width, height, in -1 to 1."""

LARGEST_CUT = 0.4
"""Of height and width."""


@dataclass(frozen=True)
class Clip:
    """frames (T,) int64: their numbers in the video; look (LOOK,) float32."""

    frames: np.ndarray
    look: np.ndarray


def places(start: float, frames: int, stride: int, length: int) -> np.ndarray:
    """The frames of a clip in a video of `length`; `start` in 0 to 1 says how far it lies to the end.

    A video shorter than the clip is read evenly from end to end.
    """
    span = min((frames - 1) * stride, length - 1)
    first = round(start * (length - 1 - span))
    return first + np.round(np.linspace(0, span, frames)).astype(np.int64)


def spread(config: Config, length: int, count: int) -> list[np.ndarray]:
    """Frames of `count` clips spread evenly from a video's beginning to its end."""
    starts = [0.5] if count == 1 else [place / (count - 1) for place in range(count)]
    return [places(start, config.frames, config.stride, length) for start in starts]


def draw(config: Config, length: int, word: int) -> Clip:
    """A clip of a training, a pure function of the options, the video's length and `word`."""
    draws = np.random.default_rng(word)
    frames = places(draws.random(), config.frames, config.stride, length)
    dropped = draws.random(config.frames) < config.drop_frames
    dropped[0] = False
    # Where a frame is dropped the last one that was not stands in for it.
    frames = frames[np.maximum.accumulate(np.where(dropped, 0, np.arange(config.frames)))]
    if draws.random() < config.reverse:
        frames = frames[::-1].copy()
    return Clip(frames, _look(config, draws))


def _look(config: Config, draws: np.random.Generator) -> np.ndarray:
    angle = math.radians(draws.uniform(-1, 1) * config.rotate)
    scale = config.size / config.cache_size / math.exp(draws.uniform(-1, 1) * math.log1p(config.zoom))
    mirror = -1.0 if draws.random() < config.flip else 1.0
    moved = draws.uniform(-2, 2, 2) * config.shift
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    warp = [cos * mirror, -sin, moved[0], sin * mirror, cos, moved[1]]
    colour = 1.0 + draws.uniform(-1, 1, 3) * config.colour
    cut = np.concatenate([draws.uniform(-1, 1, 2), draws.uniform(0.1, LARGEST_CUT, 2)])
    if draws.random() >= config.cutout:
        cut[2:] = 0.0
    return np.array([*warp, *colour, *cut], dtype=np.float32)


def unchanged(config: Config) -> np.ndarray:
    """The look (LOOK,) of a clip that nothing changes but the crop to the network's size."""
    scale = config.size / config.cache_size
    return np.array([scale, 0, 0, 0, scale, 0, 1, 1, 1, 0, 0, 0, 0], dtype=np.float32)
