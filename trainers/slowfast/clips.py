"""Selects the frames of clips and draws their augmentation parameters, once per clip.

Augmentation in time is done here, by the choice of frames. pixels.py augments the pixels on the device with
the parameters drawn here. They are the same for all frames of a clip: a change between frames would look
like motion.
"""

import math
from dataclasses import dataclass

import numpy as np

from trainers.slowfast.config import Config

LOOK = 13
"""Number of augmentation parameters (the look) of a clip: an affine map (2 x 3) of coordinates; factors of
brightness, contrast and saturation; centre x, y, half width, half height of a cut-out rectangle (-1 to 1)."""

LARGEST_CUT = 0.4
"""Largest height and width of the cut-out rectangle, as shares of those of the picture."""


@dataclass(frozen=True)
class Clip:
    """One clip: frame numbers in the video (T,) int64, and augmentation parameters `look` (LOOK,) float32."""

    frames: np.ndarray
    look: np.ndarray


def frame_indices(start: float, frames: int, stride: int, length: int) -> np.ndarray:
    """Return the frame numbers (T,) int64 of a clip in a video of `length` frames.

    `start` is the clip's position: 0 at the beginning, 1 at the end. If the video is shorter than the clip,
    its frames are spread evenly over the clip.
    """
    span = min((frames - 1) * stride, length - 1)
    first = round(start * (length - 1 - span))
    return first + np.round(np.linspace(0, span, frames)).astype(np.int64)


def spread(config: Config, length: int, count: int) -> list[np.ndarray]:
    """Return the frame numbers of `count` clips, spread evenly from the beginning of a video to its end."""
    starts = [0.5] if count == 1 else [number / (count - 1) for number in range(count)]
    return [frame_indices(start, config.frames, config.stride, length) for start in starts]


def draw(config: Config, length: int, word: int) -> Clip:
    """Return a training clip, a pure function of the options, the video's length and the seed `word`."""
    draws = np.random.default_rng(word)
    frames = frame_indices(draws.random(), config.frames, config.stride, length)
    dropped = draws.random(config.frames) < config.drop_frames
    dropped[0] = False
    # A dropped frame is replaced by the last one before it that is kept.
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
    """Return the augmentation parameters (LOOK,) that only crop the centre to the network's size."""
    scale = config.size / config.cache_size
    return np.array([scale, 0, 0, 0, scale, 0, 1, 1, 1, 0, 0, 0, 0], dtype=np.float32)
