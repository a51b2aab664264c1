"""A small checkpoint of each trainer without a training, and a file that it answers."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import slowfast_kit

from trainers.blendshapes import names
from trainers.engine import checkpoint
from trainers.slowfast import sample
from trainers.slowfast.trainer import SlowFastTrainer

FIXTURES = Path(__file__).parents[1] / "fixtures"
TRAINERS = ("blendshapes", "facenet-lstm", "i3d-teacher", "mobilenet-v3", "slowfast")
SUFFIXES = {"blendshapes": ".csv", "facenet-lstm": ".npz", "slowfast": ".flv"}


def write(name: str, root: Path) -> Path:
    """Write a checkpoint of a trainer below `root`; return its folder."""
    if name == "slowfast":
        return _write_slowfast(root)
    kind = "sign" if name in ("i3d-teacher", "mobilenet-v3") else "classifiers"
    step = json.loads((FIXTURES / kind / "expected.json").read_text())[name]["step"]
    with tarfile.open(FIXTURES / kind / f"{name}-checkpoint.tar.xz") as tar:
        tar.extractall(root, filter="data")
    return root / str(step)


def _write_slowfast(root: Path) -> Path:
    trainer = SlowFastTrainer(slowfast_kit.tiny())
    manifest = {
        "trainer": "slowfast",
        "epoch": 1,
        "metrics": {},
        "config": trainer.config.as_dict(),
        "code_tree": None,
        "data": "d",
        "parent": None,
        "preprocessing": trainer.preprocessing,
    }
    return checkpoint.save(root, 1, trainer.build(), {}, manifest)


def write_input(name: str, folder: Path) -> Path:
    """Write a file that the trainer's checkpoint answers."""
    path = folder / f"good{SUFFIXES.get(name, '.npz')}"
    writers: dict[str, Callable[[Path], None]] = {
        "blendshapes": _write_faces,
        "facenet-lstm": _write_embeddings,
        "slowfast": lambda path: sample.write_video(path, sample.frames(0, 0, 0, 0), "flv1"),
    }
    writers.get(name, _write_landmarks)(path)
    return path


def _write_faces(path: Path) -> None:
    cells = [f"{place / 100:.2f}" for place, _ in enumerate(names.ALL)]
    path.write_text(f"{','.join(names.ALL)}\n{','.join(cells)}\n")


def embeddings(steps: int = 12) -> np.ndarray:
    draw = np.random.default_rng(0).standard_normal((steps, 512)).astype(np.float32)
    return draw / np.linalg.norm(draw, axis=1, keepdims=True)


def _write_embeddings(path: Path) -> None:
    np.savez(path, video_features=embeddings())


def landmarks(steps: int = 40) -> np.ndarray:
    return np.random.default_rng(0).random((steps, 1629)).astype(np.float32)


def _write_landmarks(path: Path) -> None:
    np.savez(path, features=landmarks())
