"""Pictures to blendshapes with the real MediaPipe and its model, where both are installed."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainers import __main__ as command
from trainers.blendshapes import files
from trainers.blendshapes.config import Config

pytest.importorskip("mediapipe")
Image = pytest.importorskip("PIL.Image")

FIXTURES = Path(__file__).parents[1] / "fixtures" / "face"


def write_variants(folder: Path) -> None:
    """The face as RGB, grey, 16-bit grey, with transparency and turned with an EXIF orientation."""
    folder.mkdir(parents=True)
    face = Image.open(FIXTURES / "face.png").convert("RGB")
    grey = face.convert("L")
    face.save(folder / "colour.png")
    grey.save(folder / "grey.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(folder / "deep.png")
    face.convert("RGBA").save(folder / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    face.rotate(90, expand=True).save(folder / "turned.jpg", exif=exif, quality=95)
    Image.new("RGB", (64, 64), "grey").save(folder / "nobody.png")
    (folder / "torn.png").write_bytes((FIXTURES / "face.png").read_bytes()[:999])


def test_real_pictures_of_every_kind_become_the_same_blendshapes(tmp_path, capfd):
    write_variants(tmp_path / "images" / "train" / "Happiness")
    model = FIXTURES / "face_landmarker.task"
    words = ["--images", str(tmp_path / "images"), "--model", str(model), "--to", str(tmp_path)]
    assert command.main(["prepare", "blendshapes", *words]) == 0
    event = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert event["classes"] == {"happy": {"used": 5, "no face": 1, "unreadable": 1}}
    _, rows = files.read(tmp_path / "blendshapes" / "train.csv", Config())
    scores = {Path(row.source).name: np.array(row.values) for row in rows}
    for name in ("grey.png", "deep.png", "alpha.png", "turned.jpg"):
        assert np.abs(scores[name] - scores["colour.png"]).max() < 0.25, name
    assert np.abs(scores["grey.png"] - scores["deep.png"]).max() < 0.01


def test_real_faces_are_found_in_changed_copies_and_differ_a_little(tmp_path, capfd):
    folder = tmp_path / "images" / "train" / "happy"
    folder.mkdir(parents=True)
    Image.open(FIXTURES / "face.png").convert("RGB").save(folder / "a.png")
    words = ["--images", str(tmp_path / "images"), "--model", str(FIXTURES / "face_landmarker.task")]
    assert command.main(["prepare", "blendshapes", *words, "--to", str(tmp_path), "--augment", "6"]) == 0
    event = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (event["faces"], event["augmented"]) == (1, {"happy": 5})
    _, (first, *others) = files.read(tmp_path / "blendshapes" / "train.csv", Config())
    for row in others:
        off = np.abs(np.array(row.values) - np.array(first.values))
        assert 0 < off.mean() < 0.15
