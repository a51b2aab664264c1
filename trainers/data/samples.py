"""Helpers for writing sample data: random generators, names of recordings, NPZ files."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trainers.data import emotions
from trainers.engine import rng


def generator(seed: int, *counters: int) -> np.random.Generator:
    """Create a random generator that depends only on the seed and the counters."""
    return np.random.default_rng(rng.derive_seed(seed, *counters))


def recording_names(recordings: int, actors: int) -> Iterator[emotions.Name]:
    """Yield names of about `recordings` recordings of both data sets, equally many per actor and class."""
    each = max(2, round(recordings / actors / len(emotions.CLASSES)))
    codes = [code for code, f in emotions.RAVDESS_EMOTIONS.items() if f in emotions.CLASSES]
    for person in range(1, actors + 1):
        for code in codes:
            for turn in range(min(each // 2, 4)):
                repetition = (f"0{turn % 2 + 1}", f"0{turn // 2 + 1}")
                yield emotions.Ravdess("02", "01", code, "01", *repetition, f"{person:02d}")
        for code in emotions.CREMA_EMOTIONS:
            for turn in range(min(each - each // 2, 12)):
                sentence = emotions.CREMA_SENTENCES[(turn + person) % 12]
                yield emotions.Crema(str(1000 + person), sentence, code, "XX")


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an NPZ whose bytes depend only on the arrays; numpy's writer adds the time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asanyarray(value), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), buffer.getvalue())
