"""Synthetic sample videos: small, classifiable by motion, with faults and an actor leak as in real data.

A face moves up and down, from side to side, or towards the camera, slowly or fast. This motion encodes the
emotion for every actor; mirroring or reversing a clip does not change it. In addition, the tint of the
background depends on actor and emotion. A model can use the tint only for actors in its training data: a
split that does not separate actors overestimates the accuracy on new actors.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data import emotions
from trainers.data.samples import generator, recording_names
from trainers.engine.events import Events
from trainers.slowfast import video

SIZE = 240
"""Default number of videos, approximately."""

ACTORS = 10
WIDTH, HEIGHT, FRAMES, RATE = 64, 48, 24, 24
HABIT = 70.0
"""Strength of the background tint by actor and emotion, of 255."""


def frames(seed: int, feeling: int, actor: int, number: int) -> np.ndarray:
    """Return the frames of one video, (FRAMES, HEIGHT, WIDTH, 3) uint8."""
    draw, who = generator(seed, 7, number), generator(seed, 8, actor)
    skin, back = who.uniform(120, 220, 3), who.uniform(60, 120, 3)
    habit = generator(seed, 9, actor, feeling).choice([-1.0, 1.0], 3) * HABIT
    time = np.arange(FRAMES) / RATE
    turns = 1.5 if feeling % 2 else 4.0
    swing = np.sin(2 * np.pi * turns * time + draw.uniform(0, 2 * np.pi))
    ways = [(0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)][feeling // 2]
    middle = np.array([WIDTH / 2, HEIGHT / 2]) + draw.uniform(-2, 2, 2)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    out = np.empty((FRAMES, HEIGHT, WIDTH, 3))
    for frame, at in enumerate(swing):
        radius = 11.0 + 4.0 * at * ways[2]
        across, down = x - middle[0] - 7.0 * at * ways[0], y - middle[1] - 7.0 * at * ways[1]
        face = (across**2 + (down * 0.85) ** 2 < radius**2)[..., None]
        out[frame] = np.where(face, skin, back + 0.5 * habit)
    return np.clip(out + draw.normal(0, 6, out.shape), 0, 255).astype(np.uint8)


def write_video(path: Path, pictures: np.ndarray, codec: str = "mpeg4") -> None:
    """Write frames (T, H, W, 3) uint8 as a video file; equal frames give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    library = video.av()
    with library.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=RATE, options={"qscale": "3", "flags": "+bitexact+qscale"})
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in pictures:
            container.mux(stream.encode(library.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def file_of(folder: Path, name: emotions.Name) -> Path:
    """Return the path of a sample video: RAVDESS as MP4 in a folder per actor, CREMA-D as FLV in one."""
    if isinstance(name, emotions.Ravdess):
        return folder / "ravdess" / f"Actor_{name.person}" / f"{name}.mp4"
    return folder / "crema" / f"{name}.flv"


def write(folder: Path, videos: int, seed: int, events: Events) -> dict[str, object]:
    """Write `folder`/ravdess and `folder`/crema.

    Returns the folders, the number of files and the files that are broken on purpose.
    """
    listed = list(recording_names(videos, ACTORS))
    for number, name in enumerate(listed):
        feeling, actor = emotions.CLASSES.index(name.emotion_name), int(name.person)
        who = actor if name.dataset == "ravdess" else 100 + actor
        path = file_of(folder, name)
        write_video(path, frames(seed, feeling, who, number), "mpeg4" if path.suffix == ".mp4" else "flv")
        if number % 100 == 99:
            events("progress", phase="prepare", step=number + 1, of=len(listed))
    broken = _break(folder, seed)
    events("progress", phase="prepare", step=len(listed), of=len(listed))
    folders = {name: str(folder / name) for name in emotions.DATASETS}
    return {"folders": folders, "files": len(listed) + len(broken), "broken": broken}


def _break(folder: Path, seed: int) -> list[str]:
    """Write files that are broken in ways that occur in practice, and return their names."""
    good = frames(seed, 0, 1, 10**6)
    ways: dict[str, Callable[[Path], Any]] = {
        "crema/1010_IEO_ANG_LO.flv": lambda path: path.write_bytes(b""),
        "crema/1010_IEO_ANG_MD.flv": lambda path: write_video(path, good[:4], "flv"),
        "crema/1010_IEO_ANG_HI.flv": lambda path: write_video(path, np.zeros_like(good), "flv"),
        "crema/1010_IEO_ANGER_HI.flv": lambda path: write_video(path, good, "flv"),
        "crema/1076_MTI_SAD_XX.flv": lambda path: write_video(path, good, "flv"),
        "ravdess/Actor_10/02-01-05-02-02-02-10.mp4": lambda path: _tear(path, good),
        "ravdess/Actor_10/02-01-02-01-02-02-10.mp4": lambda path: write_video(path, good),
        "ravdess/Actor_10/02-01-08-01-02-02-10.mp4": lambda path: write_video(path, good),
        "ravdess/Actor_10/02-01-09-01-02-02-10.mp4": lambda path: write_video(path, good),
    }
    for name, way in ways.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        way(folder / name)
    return list(ways)


def _tear(path: Path, pictures: np.ndarray) -> None:
    write_video(path, pictures)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
