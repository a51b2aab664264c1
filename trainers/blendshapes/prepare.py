"""Extracts blendshapes from pictures with MediaPipe's Face Landmarker, which the user installs."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trainers.blendshapes import names, pictures
from trainers.blendshapes.pictures import Picture
from trainers.blendshapes.sample import write_csv
from trainers.data.faces import Landmarker
from trainers.engine import health
from trainers.engine.events import Events, printable
from trainers.engine.sources import BadSource

COUNTS = ("used", "no face", "unreadable")

Scores = dict[str, float] | None
"""Blendshape names and scores of the face in a picture; None if MediaPipe detects no face."""

OPTIONS = ("augment",)
"""Options of `prepare` besides the sources that this module accepts."""


class _Faces:
    """Rows of the CSV files by split, pictures with a face, and counts of all by COUNTS and emotion."""

    def __init__(self, landmarker: Landmarker) -> None:
        self.landmarker = landmarker
        self.rows: dict[str, list[list[object]]] = {}
        self.pictures: list[Picture] = []
        self.counts: dict[str, Counter[str]] = {key: Counter() for key in COUNTS}

    def add(self, picture: Picture, read: Callable[[], np.ndarray]) -> str:
        """Add the face of a picture, or of a copy that `read` returns; one of COUNTS."""
        scores = _scores(self.landmarker, read)
        if not isinstance(scores, dict):
            return "unreadable" if isinstance(scores, str) else "no face"
        facts = [picture.label, picture.person, printable(picture.name)]
        self.rows.setdefault(picture.split, []).append([*facts, *(scores[name] for name in names.ALL)])
        return "used"

    def find(self, listing: Sequence[Picture], events: Events) -> None:
        """Add the faces of all pictures."""
        for number, picture in enumerate(listing, 1):
            kind = self.add(picture, partial(pictures.read, picture.path))
            self.counts[kind][picture.label] += 1
            self.pictures += [picture] if kind == "used" else []
            if number % 100 == 0 or number == len(listing):
                events("progress", phase="prepare", step=number, of=len(listing))

    def augment(self, size: int, seed: int, events: Events) -> dict[str, int]:
        """Add changed copies of training pictures until each class has `size`; their number by class."""
        train = [picture for picture in self.pictures if picture.split == "train"]
        present = Counter(picture.label for picture in train)
        added = Counter(dict.fromkeys(sorted(present), 0))
        missing = sum(max(0, size - count) for count in present.values())
        for copy in range(1, pictures.MOST_COPIES + 1):
            for picture in sorted(train, key=lambda picture: pictures.rank(seed, picture.name, copy)):
                if present[picture.label] + added[picture.label] >= size:
                    continue
                if self.add(picture, partial(_changed, picture, seed, copy)) != "used":
                    continue
                added[picture.label] += 1
                if added.total() % 100 == 0 or added.total() == missing:
                    events("progress", phase="prepare", step=added.total(), of=missing)
        return dict(added)


def _changed(picture: Picture, seed: int, copy: int) -> np.ndarray:
    return pictures.changed(pictures.read(picture.path), seed, picture.name, copy)


def run(sources: Mapping[str, Path], to: Path, seed: int, events: Events, augment: int = 0) -> dict[str, Any]:
    """Write the blendshapes of all pictures to `to`/blendshapes/*.csv.

    With `augment`, copies of training pictures are changed and added until each class has that many faces.

    Returns the folder, the numbers of faces, of pictures without a face, of unreadable ones and of copies by
    emotion, the folders that were read as an emotion, and those that name none. Raises BadSource if an input
    is missing, DataUnusable if no face is found or if the folders name splits for some pictures only.
    """
    for name in ("images", "model"):
        if name not in sources:
            what = "a folder of pictures" if name == "images" else "MediaPipe's face_landmarker.task"
            raise BadSource(f"--{name} is missing: {what}")
    listing = pictures.find(sources["images"])
    if not listing.pictures:
        _unusable(f"no picture lies in a folder of an emotion below {sources['images']}", _layout())
    if contradictions := pictures.findings(listing.pictures):
        raise health.DataUnusable(contradictions)
    if augment and not any(picture.split == "train" for picture in listing.pictures):
        raise BadSource(
            "--augment changes training pictures only, and no folder is named train: "
            "arrange them as train/<emotion>/*.png, val/... and test/..., or leave --augment out"
        )
    with Landmarker(sources["model"], "model") as landmarker:
        faces = _Faces(landmarker)
        faces.find(listing.pictures, events)
        if not faces.rows:
            _unusable(f"MediaPipe found no face in {len(listing.pictures)} pictures", "check the pictures")
        copies = faces.augment(augment, seed, events) if augment else {}
    return {**_write(to / "blendshapes", faces.rows, faces.counts, listing), "augmented": copies}


def _write(
    folder: Path,
    rows: Mapping[str, list[list[object]]],
    counts: Mapping[str, Counter[str]],
    listing: pictures.Listing,
) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    for split, faces in rows.items():
        write_csv(folder / f"{split or 'faces'}.csv", faces)
    labels = sorted({picture.label for picture in listing.pictures})
    return {
        "folders": {"blendshapes": str(folder)},
        "faces": counts["used"].total(),
        "dropped": counts["no face"].total(),
        "unreadable": counts["unreadable"].total(),
        "classes": {label: {key: counts[key][label] for key in COUNTS} for label in labels},
        "read_as": listing.mapped,
        "folders_of_no_emotion": listing.unknown,
        "refused": [f"{refusal.source}: {refusal.why}" for refusal in listing.refused],
    }


def _layout() -> str:
    return f"arrange them as <emotion>/*.png or train/<emotion>/*.png; emotions: {', '.join(names.LABELS)}"


def _unusable(message: str, fix: str) -> None:
    raise health.DataUnusable([health.error("labels.nonempty", message, fix, "images")])


def _scores(landmarker: Landmarker, read: Callable[[], np.ndarray]) -> Scores | str:
    """The scores of the picture that `read` returns, None without a face, or the error of reading it.

    Raises DataUnusable if the installed MediaPipe returns other blendshapes than names.ALL.
    """
    try:
        face = landmarker.find(read())
    except (RuntimeError, ValueError, OSError) as fault:
        return str(fault)
    if face is None:
        return None
    if set(face.scores) != set(names.ALL):
        missing = sorted(set(names.ALL) - set(face.scores)) or sorted(set(face.scores) - set(names.ALL))
        _unusable(f"this MediaPipe has other blendshapes: {health.first(missing)}", "install another version")
    return face.scores
