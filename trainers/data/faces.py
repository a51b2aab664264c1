"""Finds the face in a picture with MediaPipe's Face Landmarker, which the user installs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainers.engine.sources import BadSource


@dataclass(frozen=True)
class Face:
    """Blendshape scores of a face, and its landmarks (N, 2) as shares of the picture's width and height."""

    scores: dict[str, float]
    points: np.ndarray


class Landmarker:
    """Context manager with MediaPipe's model of a file, `option` names it in messages.

    Raises BadSource if MediaPipe is not installed or cannot load the file.
    """

    def __init__(self, model: Path, option: str) -> None:
        try:
            import mediapipe  # noqa: PLC0415 - an extra
            from mediapipe.tasks.python import BaseOptions, vision  # noqa: PLC0415
        except ImportError as fault:
            how = f"pip install mediapipe ({fault})"
            raise BadSource(f"--{option} needs MediaPipe, which is not installed: {how}") from fault
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)), output_face_blendshapes=True, num_faces=1
        )
        self._image, self._rgb = mediapipe.Image, mediapipe.ImageFormat.SRGB
        try:
            self._landmarker = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as fault:
            raise BadSource(f"--{option} {model}: MediaPipe cannot use it: {fault}") from fault

    def __enter__(self) -> "Landmarker":
        return self

    def __exit__(self, *_: object) -> None:
        self._landmarker.close()

    def find(self, picture: np.ndarray) -> Face | None:
        """The face in a picture (H, W, 3) uint8 RGB, or None. Raises RuntimeError or ValueError."""
        image = self._image(image_format=self._rgb, data=picture)
        detected: Any = self._landmarker.detect(image)
        if not detected.face_blendshapes:
            return None
        scores = {entry.category_name: float(entry.score) for entry in detected.face_blendshapes[0]}
        return Face(scores, np.array([(point.x, point.y) for point in detected.face_landmarks[0]]))
