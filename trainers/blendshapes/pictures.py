"""Finds labelled pictures below a folder, reads them as RGB, and makes changed copies of them."""

import hashlib
import importlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from trainers.blendshapes import names
from trainers.data import emotions, splits, walk
from trainers.data.refusal import Refusal, Unusable

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff"),
    *(".gif", ".pgm", ".ppm", ".avif", ".heic", ".heif"),
)
"""What counts as a picture; those that the installed Pillow cannot read are counted as unreadable."""


PERSONS = (
    re.compile(r"(S\d{3})_\d{3}_\d{8}\..*"),  # CK+: S010_004_00000017.png
    re.compile(r"[AB]([FM]\d{2})[A-Z]{2}(?:S|HL|HR|FL|FR)\..*", re.IGNORECASE),  # KDEF: AF01ANS.JPG
    re.compile(r"([A-Z]{2})\.[A-Z]{2}\d\.\d+\..*"),  # JAFFE: KA.AN1.39.tiff
)
"""File names that tell the person, who must be in one split: CK+ has three pictures of one moment."""


@dataclass(frozen=True)
class Picture:
    """A picture: its path, its name relative to the folder, its split (empty if none) and its emotion."""

    path: Path
    name: str
    split: str
    label: str

    @property
    def person(self) -> str:
        """The person that the file names of CK+, KDEF and JAFFE tell; empty for others."""
        match = next((found for rule in PERSONS if (found := rule.fullmatch(self.path.name))), None)
        return match[1] if match else ""


@dataclass(frozen=True)
class Listing:
    """The labelled pictures, the refused ones, and by folder those without an emotion.

    `mapped` maps each folder's name that is not one of names.LABELS to the emotion that it is read as.
    """

    pictures: tuple[Picture, ...]
    refused: tuple[Refusal, ...]
    unknown: dict[str, int]
    mapped: dict[str, str]


def find(folder: Path) -> Listing:
    """List every picture below `folder` with the split and the emotion that its parent folders name."""
    files, refused = walk.data_files({"": folder}, SUFFIXES)
    found: list[Picture] = []
    unknown: Counter[str] = Counter()
    mapped: dict[str, str] = {}
    for file in files:
        parents = PurePath(file.name).parts[:-1]
        word = next((part for part in reversed(parents) if _label(part)), "")
        try:
            split = splits.of_path(f"{'/'.join(parents)}/-")
            walk.require_file(file.path)
        except Unusable as fault:
            refused.append(Refusal.of(file.path, fault))
            continue
        if not word:
            unknown["/".join(parents) or "."] += 1
            continue
        if word.lower() not in names.LABELS:
            mapped[word] = _label(word)
        found.append(Picture(file.path, file.name, split, _label(word)))
    return Listing(tuple(found), tuple(refused), dict(unknown), mapped)


def _label(part: str) -> str:
    return names.OTHER if part.lower() == names.OTHER else emotions.in_name(part)


def findings(pictures: Sequence[Picture]) -> list[Any]:
    """The errors of splits.findings about the folders of the pictures."""
    parents = {str(PurePath(picture.name).parent) for picture in pictures}
    pairs = [(picture.split, picture.split) for picture in pictures]
    return splits.findings(parents, pairs, "pictures")


def read(path: Path) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB, turned as its EXIF data says.

    Pillow reads it, which comes with MediaPipe. Grey, 16-bit, palette and transparent pictures are converted.
    Raises ValueError, also for an animation, which is no single picture.
    """
    pillow, operations = (importlib.import_module(f"PIL.{name}") for name in ("Image", "ImageOps"))
    try:
        with pillow.open(path) as file:
            frames = getattr(file, "n_frames", 1)
            if frames > 1 and file.format != "MPO":  # of cameras: one picture, and smaller copies of it
                raise ValueError(f"holds {frames} pictures")
            return _as_rgb(pillow, operations.exif_transpose(file))
    except MemoryError:
        raise
    except Exception as fault:  # Pillow's formats raise many types, and DecompressionBombError is of its own
        raise ValueError(str(fault)) from fault


def _as_rgb(pillow: Any, picture: Any) -> np.ndarray:
    if picture.mode.startswith(("I", "F")):  # 16-bit grey, which convert() would clip at 255
        values = np.asarray(picture, dtype=np.float32)
        if not np.isfinite(values).all():
            raise ValueError("it holds NaN or infinity")
        most = values.max()
        top = 1.0 if picture.mode == "F" and most <= 1.0 else 255.0 if most < 256 else 65535.0
        grey = (values * (255.0 / top)).clip(0, 255).round().astype(np.uint8)
        return np.ascontiguousarray(np.repeat(grey[..., None], 3, 2))
    if "A" in picture.getbands() or "transparency" in picture.info:
        white = pillow.new("RGBA", picture.size, "white")
        picture = pillow.alpha_composite(white, picture.convert("RGBA"))
    return np.ascontiguousarray(np.asarray(picture.convert("RGB")))


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
