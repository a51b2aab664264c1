"""Extracts blendshapes from pictures with MediaPipe's Face Landmarker, which the user installs."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.blendshapes import names, pictures
from trainers.blendshapes.sample import write_csv
from trainers.data.faces import Landmarker
from trainers.engine import health
from trainers.engine.events import Events, printable
from trainers.engine.sources import BadSource

COUNTS = ("used", "no face", "unreadable")

Scores = dict[str, float] | None
"""Blendshape names and scores of the face in a picture; None if MediaPipe detects no face."""


def run(sources: Mapping[str, Path], to: Path, seed: int, events: Events) -> dict[str, Any]:
    """Write the blendshapes of all pictures to `to`/blendshapes/*.csv.

    Returns the folder, the numbers of faces, of pictures without a face and of unreadable ones by emotion,
    the folders that were read as an emotion, and those that name none. Raises BadSource if an input is
    missing, DataUnusable if no face is found or if the folders name splits for some pictures only.
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
    counts: dict[str, Counter[str]] = {key: Counter() for key in COUNTS}
    rows: dict[str, list[list[object]]] = {}
    with Landmarker(sources["model"], "model") as landmarker:
        for number, picture in enumerate(listing.pictures, 1):
            scores = _scores(landmarker, picture.path)
            kind = "unreadable" if isinstance(scores, str) else "used" if scores else "no face"
            counts[kind][picture.label] += 1
            if isinstance(scores, dict):
                facts = [picture.label, picture.person, printable(picture.name)]
                rows.setdefault(picture.split, []).append([*facts, *(scores[name] for name in names.ALL)])
            if number % 100 == 0 or number == len(listing.pictures):
                events("progress", phase="prepare", step=number, of=len(listing.pictures))
    if not rows:
        _unusable(f"MediaPipe found no face in {len(listing.pictures)} pictures", "check the pictures")
    return _write(to / "blendshapes", rows, counts, listing)


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


def _scores(landmarker: Landmarker, path: Path) -> Scores | str:
    """Return the scores of a picture, None if it shows no face, or the error if it cannot be read.

    Raises DataUnusable if the installed MediaPipe returns other blendshapes than names.ALL.
    """
    try:
        face = landmarker.find(pictures.read(path))
    except (RuntimeError, ValueError, OSError) as fault:
        return str(fault)
    if face is None:
        return None
    if set(face.scores) != set(names.ALL):
        missing = sorted(set(names.ALL) - set(face.scores)) or sorted(set(face.scores) - set(names.ALL))
        _unusable(f"this MediaPipe has other blendshapes: {health.first(missing)}", "install another version")
    return face.scores
