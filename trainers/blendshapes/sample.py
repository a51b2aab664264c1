"""Synthetic sample data: faces whose scores have the published means and standard deviations of real ones.

MEAN and STD are those of FER2013 run through MediaPipe, the file mean_and_std.csv of
github.com/Samir-atra/Emotion_estimation_from_video_footage_with_LSTM_ML_algorithm, rounded. The
differences between the classes are invented: as in real data, happy is easy to recognise, and sad and neutral
are similar. Part of their difference is in the correlation of two scores, which a linear model cannot use.
"""

import csv
from functools import cache
from pathlib import Path

import numpy as np

from trainers.blendshapes import names
from trainers.engine import rng
from trainers.engine.events import Events

SIZE = 3000
"""Default number of rows."""

MEAN = (
    *(2.2e-06, 0.1172, 0.1196, 0.1879, 0.2506, 0.2063, 0.0003121, 1.77e-06, 1.31e-06, 0.1872),
    *(0.171, 0.2267, 0.2355, 0.1071, 0.199, 0.2068, 0.1192, 0.1358, 0.1245, 0.3565),
    *(0.2671, 0.02503, 0.02907, 0.001493, 0.01816, 0.09411, 0.002719, 0.004367, 0.01423, 0.0157),
    *(0.03135, 0.03266, 0.01599, 0.01154, 0.1474, 0.1684, 0.04039, 0.04987, 0.163, 0.005687),
    *(0.04756, 0.02592, 0.04334, 0.04172, 0.2103, 0.2127, 0.06793, 0.08381, 0.1013, 0.1144),
    *(6.62e-06, 3.07e-06),
)
STD = (
    *(3.78e-06, 0.1929, 0.1963, 0.2617, 0.2729, 0.2456, 0.0005062, 3.2e-06, 2.22e-06, 0.1889),
    *(0.1895, 0.2145, 0.2142, 0.1672, 0.2152, 0.2171, 0.1772, 0.1532, 0.1453, 0.2118),
    *(0.193, 0.04808, 0.05929, 0.002739, 0.06117, 0.1584, 0.01639, 0.02292, 0.03904, 0.04207),
    *(0.07474, 0.07759, 0.03372, 0.04361, 0.242, 0.2623, 0.07036, 0.07797, 0.2775, 0.0264),
    *(0.09028, 0.05541, 0.09876, 0.0648, 0.3207, 0.323, 0.1423, 0.1564, 0.1959, 0.2134),
    *(1.82e-05, 4.42e-06),
)

SHIFT: dict[str, dict[str, float]] = {
    "happy": {"mouthSmile": 1.3, "mouthUpperUp": 0.6, "eyeSquint": 0.4, "mouthStretch": -0.2},
    "sad": {"browInnerUp": 0.35, "mouthFrown": 0.4, "mouthShrugLower": 0.3, "mouthSmile": -0.5},
    "neutral": {"mouthSmile": -0.45, "mouthPress": 0.1, "jawOpen": -0.3, "eyeSquint": -0.1},
    "angry": {"browDown": 0.9, "mouthPress": 0.4, "mouthSmile": -0.5},
    "surprise": {"jawOpen": 1.0, "browOuterUp": 0.7, "eyeWide": 0.8, "mouthSmile": -0.4},
}
"""Shift of each class's mean, in standard deviations, by the first part of the blendshape's name."""

RIGHT = [index for index, name in enumerate(names.ALL) if name.endswith("Right")]
"""The columns of the right half of a face; each follows that of the left half."""

SHARES = {"happy": 0.40, "sad": 0.22, "neutral": 0.30, "angry": 0.05, "surprise": 0.03}
NOISE = 0.08
"""Share of rows whose label is replaced by a random one."""

SPLITS = {"train": 0.7, "val": 0.15, "test": 0.15}
FACES_OF_ONE = 3
"""Pictures per person, who is named in the column `group`."""


def _beta(draw: np.random.Generator, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Draw scores from beta distributions with these means and standard deviations (method of moments)."""
    mean = np.clip(mean, 1e-7, 1 - 1e-7)
    variance = np.minimum(np.square(std), 0.9 * mean * (1 - mean))
    concentration = mean * (1 - mean) / variance - 1
    return np.asarray(draw.beta(mean * concentration, (1 - mean) * concentration))


def face(draw: np.random.Generator, label: str) -> np.ndarray:
    """Return the synthetic scores (52,) float64 of a face with this emotion."""
    values = _beta(draw, _mean(label), np.array(STD))
    for index in RIGHT:  # the two sides of a face are correlated
        values[index] = 0.8 * values[index - 1] + 0.2 * values[index]
    return _together(draw, label, values)


@cache
def _mean(label: str) -> np.ndarray:
    """Return the mean scores (52,) of the faces with this emotion; read-only."""
    mean, std = np.array(MEAN), np.array(STD)
    for index, name in enumerate(names.ALL):
        shift = sum(by for start, by in SHIFT[label].items() if name.startswith(start))
        mean[index] = np.clip(mean[index] + shift * std[index], 0.05 * mean[index], 0.97)
    return mean


def _together(draw: np.random.Generator, label: str, values: np.ndarray) -> np.ndarray:
    """Correlate two scores in 90 % of sad and neutral faces: in sad ones raised brows come with lowered
    eyes, in neutral ones with eyes that are not lowered."""
    eyes, brows = names.ALL.index("eyeLookDownLeft"), names.ALL.index("browOuterUpLeft")
    high = values[eyes] > MEAN[eyes]
    if label in ("sad", "neutral") and draw.random() < 0.9:
        raised = high if label == "sad" else not high
        score = draw.uniform(0.3, 0.9) if raised else draw.uniform(0.0, 0.15)
        values[brows], values[brows + 1] = score, 0.9 * score
    return values


def write(folder: Path, size: int, seed: int, events: Events) -> dict[str, object]:
    """Write `folder`/blendshapes/train.csv, val.csv and test.csv.

    Returns the folder, the number of rows and the lines that are broken on purpose.
    """
    target = folder / "blendshapes"
    target.mkdir(parents=True, exist_ok=True)
    person, broken = 0, []
    for number, (split, share) in enumerate(SPLITS.items()):
        draw = np.random.default_rng(rng.derive_seed(seed, 11, number))
        rows = []
        for _ in range(max(6, round(size * share / FACES_OF_ONE))):
            person += 1
            rows += [_row(draw, split, f"p{person:05d}", shot) for shot in range(FACES_OF_ONE)]
        if split == "train":
            broken = _break(rows)
        write_csv(target / f"{split}.csv", rows)
        events("progress", phase="prepare", step=number + 1, of=len(SPLITS))
    lines = [f"train.csv:{line}" for line in broken]
    return {"folders": {"blendshapes": str(target)}, "rows": person * FACES_OF_ONE, "broken": lines}


def _row(draw: np.random.Generator, split: str, person: str, shot: int) -> list[object]:
    label = str(draw.choice(list(SHARES), p=list(SHARES.values())))
    stated = str(draw.choice(list(SHARES))) if draw.random() < NOISE else label
    return [stated, person, f"{split}/{person}_{shot}.png", *face(draw, label).tolist()]


def write_csv(path: Path, rows: list[list[object]]) -> None:
    """Write a CSV file with label, group, file name and unrounded scores of each face."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["label", "group", "file", *names.ALL])
        writer.writerows(rows)


def _break(rows: list[list[object]]) -> list[int]:
    """Break six rows in ways that occur in practice; return their line numbers in the file."""
    label, smile = 0, 3 + names.ALL.index("mouthSmileLeft")
    faults: list[tuple[int, int, object]] = [
        (1, label, "hapy"),
        (2, label, "3"),
        (3, smile, "nan"),
        (4, smile, 1.7),
        (5, smile, ""),
    ]
    for row, column, value in faults:
        rows[row][column] = value
    del rows[6][-4:]
    return [row + 2 for row in (*(fault[0] for fault in faults), 6)]
