"""Finds labelled pictures below a folder, and reads them as RGB."""

import importlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from trainers.blendshapes import names
from trainers.data import emotions, splits, walk
from trainers.data.refusal import Refusal, Unusable

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Picture:
    """A picture: its path, its name relative to the folder, its split (empty if none) and its emotion."""

    path: Path
    name: str
    split: str
    label: str


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
    Raises OSError or ValueError.
    """
    pillow, operations = (importlib.import_module(f"PIL.{name}") for name in ("Image", "ImageOps"))
    with pillow.open(path) as file:
        picture = operations.exif_transpose(file)
        if picture.mode.startswith(("I", "F")):  # 16-bit grey, which convert() would clip at 255
            values = np.asarray(picture, dtype=np.float32)
            top = 255.0 if values.max() < 256 else 65535.0
            grey = (values * (255.0 / top)).clip(0, 255).round().astype(np.uint8)
            return np.ascontiguousarray(np.repeat(grey[..., None], 3, 2))
        if "A" in picture.getbands() or "transparency" in picture.info:
            white = pillow.new("RGBA", picture.size, "white")
            picture = pillow.alpha_composite(white, picture.convert("RGBA"))
        return np.ascontiguousarray(np.asarray(picture.convert("RGB")))
