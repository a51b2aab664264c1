"""Changes pictures of faces, so that MediaPipe sees them a little differently."""

import hashlib
import importlib

import numpy as np

TURN, ZOOM, SHIFT = 12.0, 0.15, 0.05
"""Largest rotation in degrees, change of scale as a share, and shift as a share of the size."""

BRIGHTNESS, CONTRAST = 0.25, 0.25
"""Largest changes as shares."""

MOST_COPIES = 8
"""Largest number of copies of one picture: more of them teach a network little."""


def changed(picture: np.ndarray, seed: int, name: str, copy: int) -> np.ndarray:
    """A changed copy of a picture (H, W, 3) uint8 RGB, as a pure function of the arguments.

    The copy is mirrored, turned, zoomed and shifted, with another brightness and contrast. Uncovered corners
    have the picture's mean colour.
    """
    pillow = importlib.import_module("PIL.Image")
    draw = np.random.default_rng(list(rank(seed, name, copy)))
    height, width = picture.shape[:2]
    mean = picture.reshape(-1, 3).mean(0)
    image = pillow.fromarray(picture)
    if draw.random() < 0.5:
        image = image.transpose(pillow.Transpose.FLIP_LEFT_RIGHT)
    shift = [float(s) for s in draw.uniform(-SHIFT, SHIFT, 2) * (width, height)]
    fill, bilinear = tuple(int(value) for value in mean), pillow.Resampling.BILINEAR
    image = image.rotate(draw.uniform(-TURN, TURN), bilinear, translate=shift, fillcolor=fill)
    scale = 1 / draw.uniform(1 - ZOOM, 1 + ZOOM)
    edges = ((1 - scale) * width / 2, (1 - scale) * height / 2)
    matrix = (scale, 0.0, edges[0], 0.0, scale, edges[1])
    image = image.transform(image.size, pillow.Transform.AFFINE, matrix, bilinear, fillcolor=fill)
    contrast, brightness = 1 + draw.uniform(-1, 1, 2) * (CONTRAST, BRIGHTNESS)
    values = (np.asarray(image, np.float32) - mean) * contrast + mean * brightness
    return np.ascontiguousarray(values.clip(0, 255).round().astype(np.uint8))


def rank(seed: int, name: str, copy: int) -> bytes:
    """A hash by which the copies of pictures are ordered and drawn."""
    text = f"{seed}/{copy}/{name}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=16).digest()
