"""Augments landmark sequences (speed, scale, shift, noise, hidden frames) as a pure function of a key."""

from dataclasses import dataclass

import numpy as np

from trainers.data.sign.config import SignConfig


@dataclass(frozen=True)
class Course:
    """A sequence of frames: raw (T, 1629), the (fractional) index of each frame in the original (`source`,
    (T,) float32), and whether it is hidden (`hidden`, (T,) bool)."""

    raw: np.ndarray
    source: np.ndarray
    hidden: np.ndarray


def plain(raw: np.ndarray) -> Course:
    """A Course of the frames without augmentation."""
    return Course(raw, np.arange(len(raw), dtype=np.float32), np.zeros(len(raw), dtype=bool))


def augmented(raw: np.ndarray, key: int, least: int, config: SignConfig) -> Course:
    """An augmented Course of the frames; has at least `least` frames (what CTC needs for the target)."""
    draw = np.random.default_rng(key)
    source = _speed(draw, len(raw), least, config.augment_speed)
    values = raw[np.round(source).astype(int)].astype(np.float32)
    detected = values != 0  # landmarks that were not detected are zero, and must stay zero
    values = _figure(draw, values, config.augment_landmarks)
    values += np.float32(config.augment_noise) * draw.standard_normal(values.shape, dtype=np.float32)
    hidden = _hidden(draw, len(values), config.augment_mask)
    return Course(values * detected, source, hidden)


def _speed(draw: np.random.Generator, steps: int, least: int, share: float) -> np.ndarray:
    length = max(least, round(steps * (1.0 + share * draw.uniform(-1.0, 1.0))))
    return np.linspace(0.0, steps - 1.0, length, dtype=np.float32)


def _figure(draw: np.random.Generator, values: np.ndarray, share: float) -> np.ndarray:
    """Scale each axis about the picture's centre and shift it, equally in every frame."""
    scale = 1.0 + share * draw.uniform(-1.0, 1.0, 3)
    shift = share * draw.uniform(-1.0, 1.0, 3)
    middle = np.array([0.5, 0.5, 0.0])
    figure = values.reshape(len(values), -1, 3)
    moved = (figure - middle) * scale + middle + shift
    return np.asarray(moved.reshape(values.shape), dtype=np.float32)


def _hidden(draw: np.random.Generator, steps: int, share: float) -> np.ndarray:
    """Choose one run of frames to hide, of up to `share` of all."""
    length = int(draw.uniform(0.0, share) * steps)
    start = int(draw.integers(0, steps - length + 1))
    indices = np.arange(steps)
    return np.asarray((indices >= start) & (indices < start + length))
