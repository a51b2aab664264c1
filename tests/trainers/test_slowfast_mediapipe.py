"""Face boxes of videos with the real MediaPipe and its model, where both are installed."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainers import __main__ as command
from trainers.data.faces import Face
from trainers.slowfast import boxes, find_faces, manifest

FIXTURES = Path(__file__).parents[1] / "fixtures" / "face"


def faces_at(*middles: tuple[float, float], size: float = 0.2) -> list[Face]:
    corners = np.array([(-0.5, -0.5), (0.5, 0.5)]) * size
    return [Face({}, np.array(middle) + corners) for middle in middles]


def test_a_box_is_a_square_within_the_picture_around_the_median_face():
    assert find_faces.around(faces_at((0.5, 0.5), (0.5, 0.5), (0.9, 0.1)), 1000, 500) == (350, 100, 300, 300)
    assert find_faces.around(faces_at((0.0, 0.99)), 200, 100) == (0, 40, 60, 60)
    assert find_faces.around(faces_at((0.5, 0.5), size=0.9), 200, 100) == (50, 0, 100, 100)


def write_video(path: Path, face: np.ndarray | None, left: int = 0) -> None:
    """Write 24 frames of 480x320 with a face 160 pixels wide at (left, 100), or of noise."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 480, 320, "yuv420p", 4_000_000
        for number in range(24):
            frame = np.random.default_rng(number).integers(90, 120, (320, 480, 3)).astype(np.uint8)
            if face is not None:
                frame[100 : 100 + len(face), left : left + face.shape[1]] = face
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_real_faces_in_videos_get_boxes_and_others_are_excluded(tmp_path, capfd):
    pytest.importorskip("mediapipe")
    image = pytest.importorskip("PIL.Image")
    face = np.asarray(image.open(FIXTURES / "face.png").convert("RGB").resize((160, 200)))
    (tmp_path / "crema").mkdir()
    for name, left in (("1001_DFA_ANG_XX", 20), ("1002_DFA_SAD_XX", 290)):
        write_video(tmp_path / "crema" / f"{name}.mp4", face, left)
    write_video(tmp_path / "crema" / "1003_DFA_HAP_XX.mp4", None)
    (tmp_path / "crema" / "1004_DFA_HAP_XX.mp4").write_bytes(b"torn")
    model = str(FIXTURES / "face_landmarker.task")
    words = ["--crema", str(tmp_path / "crema"), "--faces", model, "--to", str(tmp_path / "splits")]
    answers = []
    for _ in range(2):
        assert command.main(["prepare", "slowfast", *words]) == 0
        answers.append(json.loads(capfd.readouterr().out.splitlines()[-1])["faces"])
    assert [(answer["detected"], answer["kept"]) for answer in answers] == [(2, 0), (0, 2)]
    assert answers[0]["without"][0] == "1003_DFA_HAP_XX.mp4: shows no face: in 3 frames"
    found = boxes.read(tmp_path / "crema")
    for name, left in (("1001_DFA_ANG_XX", 20), ("1002_DFA_SAD_XX", 290)):
        x, y, width, height = found[name]
        assert width == height
        assert 80 < width < 220
        assert abs(x + width / 2 - (left + 80)) < 40
        assert 100 < y + height / 2 < 300
    excluded = {
        Path(line.path).name: line.excluded
        for line in manifest.read(tmp_path / "splits" / manifest.NAME).values()
    }
    assert excluded["1003_DFA_HAP_XX.mp4"].startswith("shows no face")
    assert not excluded["1001_DFA_ANG_XX.mp4"]


def test_boxes_that_cannot_be_read_are_named_before_videos_are_decoded(tmp_path, capfd):
    (tmp_path / boxes.NAME).write_text("name,x\na,1\n")
    words = ["--crema", str(tmp_path), "--faces", str(FIXTURES / "face_landmarker.task")]
    assert command.main(["prepare", "slowfast", *words, "--to", str(tmp_path / "to")]) == 2
    assert "move it away to write it again" in capfd.readouterr().err


def test_faces_without_a_folder_of_videos_are_refused(tmp_path, capfd):
    words = ["--faces", str(FIXTURES / "face_landmarker.task"), "--to", str(tmp_path)]
    assert command.main(["prepare", "slowfast", *words]) == 2
    assert "--ravdess or --crema is missing" in capfd.readouterr().err
