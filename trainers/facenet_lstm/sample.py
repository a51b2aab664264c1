"""Synthetic sample data: embeddings with the names, keys, shapes and statistics of real ones."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainers.data import emotions
from trainers.data.samples import generator, recording_names, write_npz
from trainers.engine.events import Events
from trainers.facenet_lstm.file_checks import SUFFIX, stem

WIDTH = 512
SIZE = 600
"""Default number of videos."""

ACTORS = 20
ACTOR, CLASS, HINT, DRIFT, VIDEO, FRAME = 1.0, 0.3, 0.2, 0.5, 0.45, 0.6
"""Weights of the parts whose sum, scaled to length 1, is an embedding: the actor, the emotion
pair, the emotion within the pair (relative to CLASS), the change over time, the video and the frame."""


def _directions(seed: int, kind: int, count: int) -> np.ndarray:
    values = generator(seed, kind).standard_normal((count, WIDTH))
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


@dataclass(frozen=True)
class Faces:
    """Unit vectors in embedding space: `feelings` (6, 512), and directions of movement `courses` (3, 512)."""

    seed: int
    feelings: np.ndarray
    courses: np.ndarray

    def features(self, feeling: int, actor: int, video: int) -> np.ndarray:
        """Return the embeddings of one video, (T, 512) float32, rows of length 1.

        Emotions come in pairs with nearly the same mean that differ in the direction of movement.
        """
        draw = generator(self.seed, 7, video)
        steps = int(np.clip(draw.normal(57, 9), 30, 90))
        time = np.linspace(-1.0, 1.0, steps)[:, None]
        way = 1.0 if feeling % 2 else -1.0
        who = generator(self.seed, 8, actor).standard_normal(WIDTH) / np.sqrt(WIDTH)
        mood = self.feelings[feeling // 2] + HINT * self.feelings[3 + feeling % 3]
        course = way * np.tanh(2.0 * time + draw.normal(0, 0.5)) * self.courses[feeling // 2]
        still = draw.standard_normal(WIDTH) / np.sqrt(WIDTH)
        moving = draw.standard_normal((steps, WIDTH)) / np.sqrt(WIDTH)
        rows = ACTOR * who + CLASS * mood + DRIFT * course + VIDEO * still + FRAME * moving
        rows = np.clip(rows / np.linalg.norm(rows, axis=1, keepdims=True) - 0.003, -0.14, 0.14)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def _faces(seed: int) -> Faces:
    return Faces(seed, _directions(seed, 5, 6), _directions(seed, 6, 3))


def arrays(name: str, features: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of an NPZ file as the extractor writes it."""
    return {
        "video_features": features,
        "timestamps": np.arange(len(features), dtype=np.float32) / 15.0,
        "video_path": np.array(f"videos/{name}.mp4"),
        "sample_interval": np.array(2),
    }


def write(folder: Path, videos: int, seed: int, events: Events) -> dict[str, object]:
    """Write `folder`/ravdess and `folder`/crema.

    Returns the folders, the number of files and the files that are broken on purpose.
    """
    faces, all_names = _faces(seed), list(recording_names(videos, ACTORS))
    for number, name in enumerate(all_names):
        label = emotions.CLASSES.index(name.emotion_name)
        actor = int(name.person)
        features = faces.features(label, actor, number)
        write_npz(file_of(folder, name), arrays(str(name), features))
        if number % 100 == 99:
            events("progress", phase="prepare", step=number + 1, of=len(all_names))
    broken = _break(folder, faces)
    events("progress", phase="prepare", step=len(all_names), of=len(all_names))
    folders = {name: str(folder / name) for name in ("ravdess", "crema")}
    return {"folders": folders, "files": len(all_names) + len(broken), "broken": broken}


def file_of(folder: Path, name: emotions.Name) -> Path:
    """Return the path of a sample file: RAVDESS in a folder per actor, CREMA-D in one with a suffix."""
    if isinstance(name, emotions.Ravdess):
        return folder / "ravdess" / f"Actor_{name.person}" / f"{name}.npz"
    return folder / "crema" / f"{name}{SUFFIX}.npz"


def _break(folder: Path, faces: Faces) -> list[str]:
    """Write files that are broken in ways that occur in practice, and return their names."""
    good = faces.features(0, 1, 10**6)
    ways: dict[str, Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]] = {
        f"crema/1020_IEO_ANG_LO{SUFFIX}": _without_features,
        f"crema/1020_IEO_ANG_MD{SUFFIX}": lambda a: {**a, "video_features": _with_nan(good)},
        f"crema/1020_IEO_ANG_HI{SUFFIX}": lambda a: arrays_like(a, good[:3]),
        f"crema/1020_IEO_SAD_HI{SUFFIX}": lambda a: arrays_like(a, good[:, :128]),
        f"crema/1020_IEO_FEA_HI{SUFFIX}": lambda a: arrays_like(a, np.repeat(good[:1], 57, 0)),
        f"crema/1020_IEO_ANGER_HI{SUFFIX}": lambda a: a,
        "ravdess/Actor_20/02-01-09-01-02-02-20": lambda a: a,
        "ravdess/Actor_20/02-01-02-01-02-02-20": lambda a: a,
        "ravdess/Actor_20/02-01-08-01-02-02-20": lambda a: a,
    }
    for name, way in ways.items():
        path = folder / f"{name}.npz"
        write_npz(path, way(arrays(stem(path.name), good)))
    _truncate(folder, good)
    return [*ways, *_TORN]


_TORN = ("ravdess/Actor_20/02-01-05-02-02-02-20", f"crema/1020_IEO_HAP_HI{SUFFIX}")


def _truncate(folder: Path, good: np.ndarray) -> None:
    for name, share in zip(_TORN, (0.5, 0.0), strict=True):
        path = folder / f"{name}.npz"
        write_npz(path, arrays(stem(path.name), good))
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])


def _without_features(arrays_of: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"features" if k == "video_features" else k: v for k, v in arrays_of.items()}


def _with_nan(features: np.ndarray) -> np.ndarray:
    values: np.ndarray = features.copy()
    values[5, 7] = np.nan
    return values


def arrays_like(arrays_of: dict[str, np.ndarray], features: np.ndarray) -> dict[str, np.ndarray]:
    """Return a copy of the arrays with other features and matching timestamps."""
    return {**arrays_of, **{k: arrays("", features)[k] for k in ("video_features", "timestamps")}}
