"""Made-up pictures in the folders of public data sets, with their names, and a face finder for them."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CK = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
FER = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
FER_PREFIXES = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}


class Landmarker:
    """Finds in a 48 x 48 picture the emotion that its left column encodes, and sees few differences else."""

    def __init__(self, model: Path, option: str) -> None:
        assert (model.name, option) == ("face_landmarker.task", "model")

    def __enter__(self) -> "Landmarker":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def find(self, picture: np.ndarray) -> Any:
        from trainers.blendshapes import names  # noqa: PLC0415
        from trainers.data.faces import Face  # noqa: PLC0415

        assert picture.shape == (48, 48, 3)
        draw = np.random.default_rng(zlib.crc32(picture.tobytes()))
        values = 0.3 + 0.05 * draw.random(52)
        values[int(picture[0, 0, 0]) // 30 * 6 + 1 :][:6] += 0.3
        return Face(dict(zip(names.ALL, values.tolist(), strict=True)), np.zeros((478, 2)))


def write_picture(path: Path, label: int, number: int) -> None:
    """A grey picture of noise whose left columns encode a label."""
    image = pytest.importorskip("PIL.Image")
    draw = np.random.default_rng([label, number])
    grey = draw.integers(0, 255, (48, 48)).astype(np.uint8)
    grey[:, :8] = 30 * label + 10
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(grey).save(path, quality=100)


def write_ck(root: Path) -> None:
    """CK+: seven folders; three neighbouring pictures of each of 14 persons."""
    for label, name in enumerate(CK):
        for person in range(14):
            for shot in range(3):
                stem = f"S{person + 10:03d}_{label + 1:03d}_{shot + 17:08d}"
                write_picture(root / "CK+48" / name / f"{stem}.png", label, 3 * person + shot)


def write_fer(root: Path) -> None:
    """FER2013: seven folders in each of three splits."""
    for split, count in (("train", 30), ("validation", 8), ("test", 8)):
        for label, name in enumerate(FER):
            for number in range(count):
                path = root / split / name / f"{FER_PREFIXES[split]}_{number:08d}.jpg"
                write_picture(path, label, number + len(split) * 1000)
