"""CK+ and FER2013 from pictures in their real folders to answers; pictures and faces are made up."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import faces
import numpy as np
import pytest

from trainers import __main__ as command
from trainers.blendshapes import names, pictures, prepare
from trainers.data.faces import Face

Image = pytest.importorskip("PIL.Image")

CK = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
FER = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


class Landmarker:
    """Finds in a 48 x 48 picture the emotion that its left column encodes, and sees few differences else."""

    def __init__(self, model: Path, option: str) -> None:
        assert (model.name, option) == ("face_landmarker.task", "model")

    def __enter__(self) -> "Landmarker":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def find(self, picture: np.ndarray) -> Face:
        assert picture.shape == (48, 48, 3)
        draw = np.random.default_rng(zlib.crc32(picture.tobytes()))
        values = 0.3 + 0.05 * draw.random(52)
        values[int(picture[0, 0, 0]) // 30 * 6 + 1 :][:6] += 0.3
        return Face(dict(zip(names.ALL, values.tolist(), strict=True)), np.zeros((478, 2)))


def picture(path: Path, label: int, number: int) -> None:
    draw = np.random.default_rng([label, number])
    grey = draw.integers(0, 255, (48, 48)).astype(np.uint8)
    grey[:, :8] = 30 * label + 10
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).save(path, quality=100)


def ck(root: Path) -> None:
    """Seven folders; three neighbouring pictures of each of 14 persons."""
    for label, name in enumerate(CK):
        for person in range(14):
            for shot in range(3):
                stem = f"S{person + 10:03d}_{label + 1:03d}_{shot + 17:08d}"
                picture(root / "CK+48" / name / f"{stem}.png", label, 3 * person + shot)


def fer(root: Path) -> None:
    for split, count in (("train", 30), ("validation", 8), ("test", 8)):
        for label, name in enumerate(FER):
            for number in range(count):
                stem = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}[split]
                picture(root / split / name / f"{stem}_{number:08d}.jpg", label, number + len(split) * 1000)


@pytest.fixture(params=[ck, fer], ids=["CK+", "FER2013"])
def data(request, tmp_path, monkeypatch, capsys) -> Iterator[Path]:
    """The folder with `blendshapes`, prepared from pictures of a data set."""
    request.param(tmp_path / "pictures")
    (tmp_path / "face_landmarker.task").touch()
    monkeypatch.setattr(prepare, "Landmarker", Landmarker)
    words = ["--images", str(tmp_path / "pictures"), "--model", str(tmp_path / "face_landmarker.task")]
    assert command.main(["prepare", "blendshapes", *words, "--to", str(tmp_path / "data")]) == 0
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert event["folders_of_no_emotion"] == {}
    assert event["faces"] == len(list((tmp_path / "pictures").rglob("*_*.*g")))
    return tmp_path / "data"


def test_pictures_are_prepared_checked_trained_evaluated_and_answered(data, tmp_path, capsys):
    options = {"classes": ["happy", "sad", "surprise"], "others": "drop", "batch_size": 8}
    report, code = faces.check(data, **options)
    assert code == 0, report["findings"]
    run = tmp_path / "runs" / "run"
    assert faces.train(run, data, **{**options, "epochs": 12}) == 0, (run / "log").read_text()
    best = str(run / "checkpoints" / "best")
    assert command.main(["evaluate", best, "--data", str(data)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["values"]["accuracy"] > 0.8
    rows = next((data / "blendshapes").glob("*s*.csv"))
    assert command.main(["predict", best, str(rows)]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {answer["truth"] for answer in answers} >= set(options["classes"])


def test_three_pictures_of_one_moment_are_in_one_split():
    def person(name: str) -> str:
        return pictures.Picture(Path(name), name, "", "happy").person

    assert person("S010_004_00000017.png") == person("S010_004_00000018.png") == "S010"
    assert person("AF01ANS.JPG") == person("BF01HAHL.JPG") == "F01"
    assert person("KA.AN1.39.tiff") == "KA"
    assert person("Training_00000017.jpg") == person("0.png") == ""
