"""Extracts blendshapes from pictures with MediaPipe's Face Landmarker, which the user installs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trainers.blendshapes import names
from trainers.blendshapes.sample import write_csv
from trainers.data import walk
from trainers.data.splits import SPLITS
from trainers.engine import health
from trainers.engine.events import Events, printable
from trainers.engine.sources import BadSource

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")

Scores = dict[str, float] | None
"""Blendshape names and scores of the face in a picture; None if MediaPipe detects no face."""


def run(sources: Mapping[str, Path], to: Path, seed: int, events: Events) -> dict[str, Any]:
    """Write the blendshapes of all pictures to `to`/blendshapes/*.csv.

    Returns the folder and the numbers of faces, pictures without a face and unreadable pictures. Raises
    BadSource if an input is missing, DataUnusable if no face is found.
    """
    for name in ("images", "model"):
        if name not in sources:
            what = "a folder of pictures" if name == "images" else "MediaPipe's face_landmarker.task"
            raise BadSource(f"--{name} is missing: {what}")
    pictures = list(_pictures(sources["images"]))
    if not pictures:
        _unusable(f"no picture lies in a folder of an emotion below {sources['images']}", _layout())
    rows: dict[str, list[list[object]]] = {}
    used, dropped, unread = Counter[str](), Counter[str](), Counter[str]()
    with _landmarker(sources["model"]) as look:
        for number, (path, split, label) in enumerate(pictures, 1):
            scores = _scores(look, path)
            if isinstance(scores, str):
                unread[label] += 1
            elif scores is None:
                dropped[label] += 1
            else:
                used[label] += 1
                facts = [label, "", printable(str(path.relative_to(sources["images"])))]
                rows.setdefault(split, []).append([*facts, *(scores[name] for name in names.ALL)])
            if number % 100 == 0 or number == len(pictures):
                events("progress", phase="prepare", step=number, of=len(pictures))
    if not used:
        _unusable(f"MediaPipe found no face in {len(pictures)} pictures", "check the pictures")
    return _write(to / "blendshapes", rows, used, dropped, unread)


def _write(
    folder: Path,
    rows: Mapping[str, list[list[object]]],
    used: Counter[str],
    dropped: Counter[str],
    unread: Counter[str],
) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    for split, faces in rows.items():
        write_csv(folder / f"{split or 'faces'}.csv", faces)
    counts = {
        label: {"used": used[label], "no face": dropped[label], "unreadable": unread[label]}
        for label in sorted(used | dropped | unread)
    }
    return {
        "folders": {"blendshapes": str(folder)},
        "faces": used.total(),
        "dropped": dropped.total(),
        "unreadable": unread.total(),
        "classes": counts,
    }


def _pictures(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield each picture with the split (empty if none) and the label that its parent folders name."""
    for path in sorted(p for p in walk.files(folder) if p.suffix.lower() in PICTURES):
        parts = [part.lower() for part in path.relative_to(folder).parts[:-1]]
        split = next((part for part in parts if part in SPLITS), "")
        label = next((part for part in reversed(parts) if part in names.LABELS), "")
        if label:
            yield path, split, label


def _layout() -> str:
    return f"arrange them as <emotion>/*.png or train/<emotion>/*.png; emotions: {', '.join(names.LABELS)}"


def _unusable(message: str, fix: str) -> None:
    raise health.DataUnusable([health.error("labels.nonempty", message, fix, "images")])


class _landmarker:  # noqa: N801 - a context manager, named like a function
    """Context manager that yields a function from a picture's path to its Scores.

    Raises BadSource if MediaPipe is not installed or cannot load the model file.
    """

    def __init__(self, model: Path) -> None:
        try:
            import mediapipe  # noqa: PLC0415 - an extra
            from mediapipe.tasks.python import BaseOptions, vision  # noqa: PLC0415
        except ImportError as fault:
            how = f"pip install mediapipe ({fault})"
            raise BadSource(f"--images needs MediaPipe, which is not installed: {how}") from fault
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)), output_face_blendshapes=True, num_faces=1
        )
        self._picture = mediapipe.Image.create_from_file
        try:
            self._landmarker = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as fault:
            raise BadSource(f"--model {model}: MediaPipe cannot use it: {fault}") from fault

    def __enter__(self) -> Callable[[Path], Scores]:
        return self._look

    def __exit__(self, *_: object) -> None:
        self._landmarker.close()

    def _look(self, path: Path) -> Scores:
        faces = self._landmarker.detect(self._picture(str(path))).face_blendshapes
        return {entry.category_name: float(entry.score) for entry in faces[0]} if faces else None


def _scores(look: Callable[[Path], Scores], path: Path) -> Scores | str:
    """Return the scores of a picture, None if it shows no face, or the error if it cannot be read.

    Raises DataUnusable if the installed MediaPipe returns other blendshapes than names.ALL.
    """
    try:
        scores = look(path)
    except (RuntimeError, ValueError, OSError) as fault:
        return str(fault)
    if scores is not None and set(scores) != set(names.ALL):
        missing = sorted(set(names.ALL) - set(scores)) or sorted(set(scores) - set(names.ALL))
        _unusable(f"this MediaPipe has other blendshapes: {health.first(missing)}", "install another version")
    return scores
