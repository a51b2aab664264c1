"""Writes sample data: synthetic signing with the file names, shapes and statistics of real landmarks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainers.data.landmarks import LANDMARKS
from trainers.data.phoenix import PART, PATTERNS, Sentence
from trainers.data.samples import generator, write_npz
from trainers.data.sign.reading import present, widen
from trainers.engine.events import Events

SIZE = 240
"""Default number of sentences."""

GLOSSES = (
    *("ABEND", "BERG", "FREUNDLICH", "HEUTE", "MORGEN"),
    *("NACHT", "REGEN", "SONNE", "WIND", "WOLKE"),
)
BETWEEN = ("IX", "loc-NORD", "WG", "__EMOTION__", "REGEN-PLUSPLUS")
"""Glosses that are inserted in some sentences and that the gloss filter removes."""

UNSEEN = "HOCHWASSER"
"""A gloss that occurs in test only."""

SIGNERS = {
    "train": ("Signer01", "Signer02", "Signer03", "Signer04", "Signer06", "Signer07"),
    "val": ("Signer05",),
}
POSE, FACE, HAND = 33, 468, 21
WRISTS = {"left": 15, "right": 16}
REST = {"left": np.array([0.62, 0.75, -0.1]), "right": np.array([0.38, 0.75, -0.1])}


@dataclass(frozen=True)
class Sign:
    """One gloss: three points (3, 3) that each hand passes (`left` is None for one hand), and the hand's
    shape (21, 3)."""

    right: np.ndarray
    left: np.ndarray | None
    shape: np.ndarray


@dataclass(frozen=True)
class Stage:
    """What all sentences share: signs, the figure at rest, and the body's movements `ways` (6, 543, 3)."""

    seed: int
    signs: dict[str, Sign]
    pose: np.ndarray
    face: np.ndarray
    ways: np.ndarray

    def raw(self, glosses: tuple[str, ...], signer: str, number: int) -> np.ndarray:
        """The raw columns (T, 1629) float32 of a sentence: pose, face, left hand, right hand."""
        draw, way = generator(self.seed, 7, number), generator(self.seed, 8, int(signer[-2:]))
        pace, size = 1.0 + 0.15 * way.uniform(-1, 1), 1.0 + 0.08 * way.uniform(-1, 1)
        offset = 0.03 * way.standard_normal(3) * [1, 1, 0.5]
        hands, shapes = self._course(glosses, draw, pace)
        steps = len(shapes)
        sway = 0.01 * np.sin(np.linspace(0, 3, steps) + draw.uniform(0, 6))[:, None, None] * [1.0, 0.3, 0.0]
        pose = np.repeat(self.pose[None], steps, 0)
        for side, landmark in WRISTS.items():
            pose[:, landmark] = hands[side]
        face = self.face[None] + sway
        fingers = {side: hands[side][:, None] + size * shapes for side in WRISTS}
        figure = np.concatenate([pose + 0.3 * sway, face, fingers["left"], fingers["right"]], 1)
        figure = (figure - 0.5) * size + 0.5 + offset + self._unrest(draw, steps)
        _lose_hands(figure, draw)
        return np.asarray(figure.reshape(steps, -1), dtype=np.float32)

    def _unrest(self, draw: np.random.Generator, steps: int) -> np.ndarray:
        """Movement (T, 543, 3) of the body along `ways`, with small noise for each landmark."""
        courses = np.cumsum(draw.standard_normal((steps, len(self.ways))), 0) / np.sqrt(steps)
        own = 0.0005 * draw.standard_normal((steps, LANDMARKS, 3))
        return np.asarray(np.tensordot(courses, self.ways, 1) + own)

    def _course(
        self, glosses: tuple[str, ...], draw: np.random.Generator, pace: float
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The position of each hand (T, 3), and the hands' shape (T, 21, 3)."""
        goals: dict[str, list[np.ndarray]] = {side: [REST[side]] for side in WRISTS}
        times, shapes = [0.0], [self.signs[GLOSSES[0]].shape * 0.5]
        for gloss in glosses:
            sign, length = self.signs[gloss], pace * draw.uniform(10, 14)
            for index, share in enumerate((4.0, length / 2, length / 2)):
                times.append(times[-1] + share)
                left = REST["left"] if sign.left is None else sign.left[index]
                for side, goal in (("right", sign.right[index]), ("left", left)):
                    goals[side].append(goal + 0.01 * draw.standard_normal(3))
                shapes.append(sign.shape)
        times.append(times[-1] + 5.0)
        frames = np.arange(int(times[-1]))
        ends = {side: np.array([*path, REST[side]]) for side, path in goals.items()}
        hands = {side: _between(frames, times, path) for side, path in ends.items()}
        flat = np.array([*shapes, shapes[0]]).reshape(len(times), -1)
        return hands, _between(frames, times, flat).reshape(len(frames), HAND, 3)


def _between(frames: np.ndarray, times: list[float], values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(frames, times, column) for column in values.T], 1)


def _lose_hands(figure: np.ndarray, draw: np.random.Generator) -> None:
    """Set all 21 landmarks of a hand to zero in some frames, as if the detector lost it."""
    for first in (POSE + FACE, POSE + FACE + HAND):
        steps = len(figure)
        for _ in range(int(draw.integers(1, 3))):
            start = int(draw.integers(0, steps))
            figure[start : start + int(draw.integers(1, 4)), first : first + HAND] = 0.0


def stage(seed: int) -> Stage:
    """Create the signs and the figure for a seed."""
    draw = generator(seed, 5)
    signs = {}
    for index, gloss in enumerate((*GLOSSES, UNSEEN)):
        right = np.array([0.4, 0.45, -0.15]) + draw.uniform(-1, 1, (3, 3)) * [0.22, 0.28, 0.1]
        left = np.array([0.6, 0.45, -0.15]) + draw.uniform(-1, 1, (3, 3)) * [0.22, 0.28, 0.1]
        shape = 0.05 * draw.standard_normal((HAND, 3))
        signs[gloss] = Sign(right, left if index % 2 == 0 else None, shape)
    pose = np.array([0.5, 0.5, -0.25]) + draw.uniform(-1, 1, (POSE, 3)) * [0.15, 0.25, 0.2]
    pose[23:, 1] += 1.2  # hips and legs are below the picture
    pose[29:, 2] -= 2.0
    face = np.array([0.5, 0.35, 0.0]) + draw.uniform(-1, 1, (FACE, 3)) * [0.06, 0.09, 0.03]
    ways = 0.004 * draw.standard_normal((6, LANDMARKS, 3))
    return Stage(seed, signs, pose, face, ways)


def sentences(size: int, seed: int) -> Iterator[tuple[Sentence, tuple[str, ...]]]:
    """Yield about `size` sentences (three quarters in train), each with the signs that its frames show."""
    shares = {"train": size - 2 * (size // 8), "val": size // 8, "test": size // 8}
    for index, (split, count) in enumerate(shares.items()):
        for number in range(count):
            draw = generator(seed, 6, index, number)
            signs = tuple(draw.choice(GLOSSES, int(draw.integers(2, 6))).tolist())
            if split == "test" and number == 0:
                signs = (*signs, UNSEEN)
            glosses = ["__ON__", *signs, "__OFF__"] if number % 5 == 0 else list(signs)
            if number % 4 == 0:
                glosses.insert(1, BETWEEN[number // 4 % len(BETWEEN)])
            signers = SIGNERS.get(split, SIGNERS["val"])
            id = f"{number + 1:02d}April_2010_Thursday_heute_default-{index}"
            yield Sentence(id, split, signers[number % len(signers)], " ".join(glosses)), signs


def write_features(stem: Path, raw: np.ndarray, number: int) -> Path:
    """Write a sentence's features (T, 6516); `number` selects file type, key and dtype. Returns the path."""
    kind = np.float32 if number % 10 == 3 else np.float16
    raw = raw.astype(kind)
    features = widen(raw).astype(kind)
    features[:, : raw.shape[1]] = raw
    if number % 10 == 7:
        stem.parent.mkdir(parents=True, exist_ok=True)
        path = stem.with_name(f"{stem.name}.npy")
        np.save(path, features)
        return path
    path = stem.with_name(f"{stem.name}.npz")
    key = {4: "feature", 5: "arr_0"}.get(number % 10, "features")
    masks = present(raw).astype(np.uint8)
    write_npz(path, {key: features, "detection_masks": masks} if key == "features" else {key: features})
    return path


def write(folder: Path, size: int, seed: int, events: Events) -> dict[str, object]:
    """Write `folder`/phoenix; returns its path, the number of sentences, and the ids of the broken ones."""
    scene, root = stage(seed), folder / "phoenix"
    lines: dict[str, list[str]] = {split: ["id|folder|signer|annotation"] for split in PART}
    made = list(sentences(size, seed))
    for number, (sentence, signs) in enumerate(made):
        raw = scene.raw(signs, sentence.signer, number)
        write_features(root / "features" / PART[sentence.split] / sentence.id, raw, number)
        lines[sentence.split].append(_line(sentence))
        if number % 50 == 49:
            events("progress", phase="prepare", step=number + 1, of=len(made))
    broken = _break(root, scene, max(1, size // 48))
    lines["train"] += [_line(Sentence(id, "train", "Signer01", "REGEN")) for id in broken]
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split, text in lines.items():
        name = PATTERNS["si5"].format(part=PART[split])
        (root / "annotations" / name).write_text("\n".join(text) + "\n")
    events("progress", phase="prepare", step=len(made), of=len(made))
    folders = {"phoenix": str(root)}
    return {"folders": folders, "sentences": len(made) + len(broken), "broken": broken}


def _line(sentence: Sentence) -> str:
    pictures = f"{PART[sentence.split]}/{sentence.id}/1/*.png"
    return f"{sentence.id}|{pictures}|{sentence.signer}|{sentence.annotation}"


def _break(root: Path, scene: Stage, most: int) -> list[str]:
    """Write broken feature files (only one if `most` is small) and return their ids; one id has no file."""
    raw = scene.raw(("REGEN",), "Signer01", 10**6)
    features = widen(raw)
    masks = np.ones((len(raw), LANDMARKS), np.uint8)
    ways: dict[str, Callable[[], dict[str, np.ndarray]]] = {
        "broken_no_key": lambda: {"landmarks": features},
        "broken_nan": lambda: {
            "features": np.where(np.arange(features.size).reshape(features.shape) == 9, np.nan, features)
        },
        "broken_masks": lambda: {"features": features, "detection_masks": masks[:-1]},
    }
    folder = root / "features" / "train"
    if most < len(ways):
        write_npz(folder / "broken_nan.npz", ways["broken_nan"]())
        return ["broken_nan"]
    for id, way in ways.items():
        write_npz(folder / f"{id}.npz", way())
    torn = folder / "broken_torn.npz"
    write_npz(torn, {"features": features})
    torn.write_bytes(torn.read_bytes()[:20_000])
    return [*ways, "broken_torn", "broken_absent"]
