"""Clips per CPU second from the frame cache, compared with decoding each clip from its video.

    python -m benchmarks.loader [--videos 6] [--opencv DIR]

Writes videos as RAVDESS (1280x720, H.264, mp4) and CREMA-D (480x360, FLV) have them, decodes each once into
the cache, and then asks for random clips of 32 frames at 128x128 pixels:
- from the cache, JPEG and raw, as a training does;
- by PyAV from the file, scaled as it decodes: the fastest way without a cache;
- by OpenCV from the file, seeking each frame, as the script of old did (with opencv-python-headless in DIR).
At last the share of a training step of SlowFast-R50 that a CPU spends on reading its clips.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import torch

from trainers.data.emotions import Crema, Ravdess
from trainers.data.recording_checks import Survey
from trainers.data.recordings import Record, stem
from trainers.engine.distributed import Group
from trainers.engine.events import Silent
from trainers.engine.learner import Learner
from trainers.slowfast import clips, data
from trainers.slowfast.config import Config
from trainers.slowfast.decode import Kind
from trainers.slowfast.frame_cache import Cache, open_cache
from trainers.slowfast.trainer import SlowFastTrainer

FRAMES, SIZE = 32, 128
JOINT = (1056, 7438)
"""Videos of the six classes: RAVDESS speech without sound, and CREMA-D without the broken ones."""

Wanted = list[tuple[Record, np.ndarray]]


def write(path: Path, width: int, height: int, frames: int, codec: str, seed: int) -> None:
    """A face that moves before a noisy gradient."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    back = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1)
    noise = draw.integers(-12, 12, (height, width, 1))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options={"preset": "fast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec == "flv":
            stream.bit_rate = 600_000
        for place in range(frames):
            across = x - width / 2 - width * 0.08 * np.sin(place / 9)
            down = y - height / 2 - height * 0.08 * np.cos(place / 7)
            face = (across**2 + down**2 < (height / 5) ** 2)[..., None]
            picture = np.where(face, (210, 160, 130), back) + np.roll(noise, 3 * place, 0)
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def videos(folder: Path, count: int) -> dict[str, list[Record]]:
    """`count` of each kind."""
    found: dict[str, list[Record]] = {"1280x720 H.264": [], "480x360 FLV": []}
    for number in range(count):
        one = Ravdess("02", "01", "03", "01", "01", "01", f"{number + 1:02d}")
        two = Crema(str(1001 + number), "TIE", "HAP", "XX")
        paths = folder / f"{one}.mp4", folder / f"{two}.flv"
        write(paths[0], 1280, 720, 105, "libx264", number)
        write(paths[1], 480, 360, 75, "flv", number)
        for records, name, path in zip(found.values(), (one, two), paths, strict=True):
            records.append(Record(f"{name.dataset}/{name}", path, name, "happy"))
    return found


def by_pyav(record: Record, wanted: np.ndarray) -> np.ndarray:
    """Decode up to the last frame, and scale those that are wanted."""
    out, asked = [], set(wanted.tolist())
    with av.open(str(record.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number in asked:
                out.append(frame.reformat(SIZE, SIZE, "rgb24", interpolation="BILINEAR").to_ndarray())
            if number == wanted[-1]:
                break
    return np.stack(out)


def by_opencv(library: Any) -> Callable[[Record, np.ndarray], np.ndarray]:
    """Seek each frame, read it, scale it."""

    def read(record: Record, wanted: np.ndarray) -> np.ndarray:
        capture, out = library.VideoCapture(str(record.path)), []
        for number in wanted:
            capture.set(library.CAP_PROP_POS_FRAMES, int(number))
            good, frame = capture.read()
            if good:
                out.append(library.resize(frame, (SIZE, SIZE))[:, :, ::-1])
        capture.release()
        return np.stack(out)

    return read


def rate(read: Callable[[Record, np.ndarray], np.ndarray], wanted: Wanted) -> float:
    """Clips in a CPU second."""
    read(*wanted[0])
    begun = time.process_time()
    for record, numbers in wanted:
        read(record, numbers)
    return len(wanted) / (time.process_time() - begun)


def drawn(records: list[Record], cache: Cache, count: int) -> Wanted:
    """Random clips, spread over the videos."""
    draw = np.random.default_rng(0)
    some = [records[place % len(records)] for place in range(count)]
    return [(r, clips.frame_indices(draw.random(), FRAMES, 1, cache.rows[r.id].frames)) for r in some]


def compare(records: list[Record], folder: Path, opencv: ModuleType | None) -> dict[str, float]:
    """Print every way, and how many times the cache is faster; clips a second of each."""
    begun = time.process_time()
    jpeg = open_cache(folder, records, Kind(SIZE, "jpeg"), {}, Silent(), 1)
    once = (time.process_time() - begun) / len(records)
    raw = open_cache(folder, records, Kind(SIZE, "raw"), {}, Silent(), 1)
    ways = {
        "cache, JPEG": rate(lambda r, w: jpeg.frames(r.id, w), drawn(records, jpeg, 200)),
        "cache, raw": rate(lambda r, w: raw.frames(r.id, w), drawn(records, jpeg, 200)),
        "PyAV, each clip": rate(by_pyav, drawn(records, jpeg, 12)),
    }
    if opencv is not None:
        ways["OpenCV, each frame sought"] = rate(by_opencv(opencv), drawn(records, jpeg, 4))
    for name, speed in ways.items():
        ratio = (
            ""
            if name.startswith("cache")
            else f"   the JPEG cache is {ways['cache, JPEG'] / speed:.0f}x as fast"
        )
        sys.stdout.write(f"  {name:26} {speed:9.1f} clips/s{ratio}\n")
    sys.stdout.write(f"  decoding one video into the cache, once: {once * 1e3:.0f} ms\n")
    return ways


def joint(speeds: list[dict[str, float]]) -> None:
    """An epoch of both sets, one clip a video: how many times the caches are faster than the others."""
    epochs = {
        name: sum(count / ways[name] for count, ways in zip(JOINT, speeds, strict=True)) for name in speeds[0]
    }
    for name, seconds in epochs.items():
        ratio = seconds / epochs["cache, JPEG"]
        sys.stdout.write(f"  {name:26} {seconds:9.1f} s   {ratio:.2f} of the JPEG cache's\n")


def wait(records: list[Record], folder: Path) -> None:
    """Reading two clips of 16 frames at 112 pixels against a step of SlowFast-R50 on them."""
    config = Config(frames=16, batch_size=1, device="cpu", squeeze=False)
    cache = open_cache(folder, records, Kind(SIZE, "jpeg"), {}, Silent(), 1)
    split_of = dict.fromkeys((record.id for record in records), "train")
    survey = Survey(len(records), tuple(records), (), split_of, lambda _: split_of, "videos", stem, 1.0)
    trainer = SlowFastTrainer(config, data.Data(survey, cache))
    learner = Learner(trainer, Group(torch.device("cpu")), 1)
    shares = []
    for turn in range(4):
        begun = time.process_time()
        batch = trainer.collate([trainer.sample("train", turn, 0)])
        read = time.process_time() - begun
        learner.gradients(turn, [batch], False)
        learner.divide_and_clip(1.0)
        learner.step(turn)
        shares.append(read / (time.process_time() - begun))
    sys.stdout.write(
        f"reading is {statistics.median(shares[1:]):.2%} of a step of SlowFast-R50 on this CPU\n"
    )


def main() -> None:
    """Measure and print."""
    asking = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asking.add_argument("--videos", type=int, default=6)
    asking.add_argument("--opencv", type=Path)
    asked = asking.parse_args()
    torch.set_num_threads(1)
    opencv: Any = None
    if asked.opencv:
        sys.path.insert(0, str(asked.opencv))
        import cv2 as opencv  # noqa: PLC0415 - only where the user has put it

        opencv.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="gpujob-loader-") as folder:
        sys.stdout.write(f"load {os.getloadavg()[0]:.1f}\n")
        speeds: list[dict[str, float]] = []
        for kind, records in videos(Path(folder), asked.videos).items():
            sys.stdout.write(f"{kind}, {asked.videos} videos\n")
            speeds.append(compare(records, Path(folder, "cache", kind[:3]), opencv))
        sys.stdout.write(f"an epoch of {JOINT[0]} and {JOINT[1]} such videos, one clip each\n")
        joint(speeds)
        wait(records, Path(folder, "cache", kind[:3]))


if __name__ == "__main__":
    main()
