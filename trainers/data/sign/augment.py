"""Augmentation of a landmark sequence, a pure function of its key: speed, figure, noise, hidden frames."""

from dataclasses import dataclass

import numpy as np

from trainers.data.sign.config import SignConfig


@dataclass(frozen=True)
class Course:
    """raw (T, 1629); the original frame that each frame comes from (T,) float32; hidden (T,) bool."""

    raw: np.ndarray
    source: np.ndarray
    hidden: np.ndarray


def plain(raw: np.ndarray) -> Course:
    """As it is."""
    return Course(raw, np.arange(len(raw), dtype=np.float32), np.zeros(len(raw), dtype=bool))


def augmented(raw: np.ndarray, key: int, least: int, config: SignConfig) -> Course:
    """Another course of the same signs; never shorter than `least` frames, which its target takes."""
    draw = np.random.default_rng(key)
    source = _speed(draw, len(raw), least, config.augment_speed)
    values = raw[np.round(source).astype(int)].astype(np.float32)
    detected = values != 0  # a landmark that was not detected is zero, and stays so
    values = _figure(draw, values, config.augment_landmarks)
    values += np.float32(config.augment_noise) * draw.standard_normal(values.shape, dtype=np.float32)
    hidden = _hidden(draw, len(values), config.augment_mask)
    return Course(values * detected, source, hidden)


def _speed(draw: np.random.Generator, steps: int, least: int, share: float) -> np.ndarray:
    length = max(least, round(steps * (1.0 + share * draw.uniform(-1.0, 1.0))))
    return np.linspace(0.0, steps - 1.0, length, dtype=np.float32)


def _figure(draw: np.random.Generator, values: np.ndarray, share: float) -> np.ndarray:
    """Each axis scaled about the middle of the picture and shifted, the same in every frame."""
    scale = 1.0 + share * draw.uniform(-1.0, 1.0, 3)
    shift = share * draw.uniform(-1.0, 1.0, 3)
    middle = np.array([0.5, 0.5, 0.0])
    figure = values.reshape(len(values), -1, 3)
    moved = (figure - middle) * scale + middle + shift
    return np.asarray(moved.reshape(values.shape), dtype=np.float32)


def _hidden(draw: np.random.Generator, steps: int, share: float) -> np.ndarray:
    """One stretch of frames of up to that share."""
    length = int(draw.uniform(0.0, share) * steps)
    start = int(draw.integers(0, steps - length + 1))
    places = np.arange(steps)
    return np.asarray((places >= start) & (places < start + length))
