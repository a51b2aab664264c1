"""`prepare slowfast --faces MODEL` finds the face in each video with MediaPipe and writes `faces.csv`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from trainers.data.faces import Face, Landmarker
from trainers.data.recording_checks import Survey
from trainers.data.recordings import stem
from trainers.data.refusal import Refusal, Unusable
from trainers.engine.sources import BadSource
from trainers.slowfast import boxes, video
from trainers.slowfast.upright import Box

EVERY, SAVED = 10, 50
"""A face is looked for in each EVERY-th frame; faces.csv is written after each SAVED videos."""

MARGIN = 1.5
"""The side of a box in sizes of the face: the landmarks end at forehead, chin and cheeks."""


def add(
    survey: Survey, folders: Mapping[str, Path], model: Path, advance: Callable[[int, int], None]
) -> tuple[Survey, dict[str, object]]:
    """Write the boxes of the videos that have none yet to faces.csv of their data folders.

    Returns the survey in which the videos without a face, or that cannot be decoded, are refused; and the
    files and counts. `advance` is called with the videos done and their number. Raises BadSource.
    """
    kept = {folder: _existing(folder) for folder in folders.values()}
    known = {name for file_boxes in kept.values() for name in file_boxes}
    try:
        video.av()
    except video.MissingPackage as fault:
        raise BadSource(f"--faces: {fault}") from fault
    refused, done = list[Refusal](), 0
    with Landmarker(model, "faces") as landmarker:
        for folder, file_boxes in kept.items():
            records = [record for record in survey.records if record.path.is_relative_to(folder)]
            for number, record in enumerate(records, 1):
                name, done = stem(record.path.name), done + 1
                if name not in known:
                    box = _box(landmarker, record.path)
                    if isinstance(box, Refusal):
                        refused.append(box)
                    else:
                        file_boxes[name] = box
                if number % SAVED == 0 or number == len(records):
                    if file_boxes:
                        boxes.write(folder, file_boxes)
                    advance(done, len(survey.records))
    broken = {refusal.source for refusal in refused}
    records = [record for record in survey.records if str(record.path) not in broken]
    facts = {
        "files": [str(folder / boxes.NAME) for folder, file_boxes in kept.items() if file_boxes],
        "detected": len(records) - sum(stem(record.path.name) in known for record in records),
        "kept": sum(stem(record.path.name) in known for record in records),
        "without": [f"{refusal.name}: {refusal.why}" for refusal in refused],
    }
    return replace(survey, records=tuple(records), refused=(*survey.refused, *refused)), facts


def _existing(folder: Path) -> dict[str, Box]:
    try:
        return boxes.read(folder) if boxes.exist(folder) else {}
    except boxes.BadBoxes as fault:
        raise BadSource(f"{fault}; repair it, or move it away to write it again") from fault


def _box(landmarker: Landmarker, path: Path) -> Box | Refusal:
    """The box of a video, or why it has none."""
    try:
        frames = video.whole(path, EVERY)
    except Unusable as fault:
        return Refusal.of(path, fault)
    faces = [face for frame in frames if (face := landmarker.find(frame))]
    if not faces:
        return Refusal(str(path), "files.decodable", "shows no face", f"in {len(frames)} frames")
    height, width = frames[0].shape[:2]
    return around(faces, width, height)


def around(faces: Sequence[Face], width: int, height: int) -> Box:
    """The square around the faces of a video's frames, within pictures of this size.

    Its centre and size are medians over the frames, so that one wrong face does not move it.
    """
    low, high = (np.array([edge(face.points, axis=0) for face in faces]) for edge in (np.min, np.max))
    size = np.array([width, height])
    middle = np.median((low + high) / 2, axis=0) * size
    extent = float(np.median((high - low) * size, axis=0).max())
    side = min(width, height, max(2, round(MARGIN * extent)))
    x, y = (middle - side / 2).round().astype(int).clip(0, size - side)
    return int(x), int(y), side, side
