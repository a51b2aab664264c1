"""Pictures to blendshapes, with a fake MediaPipe whose result depends on the picture's bytes."""

import builtins
import json
import os
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import faces
import numpy as np
import pytest

from tests.rigs import public_pictures
from trainers import __main__ as command
from trainers.blendshapes import names, pictures
from trainers.blendshapes import prepare as preparation


class Landmarker:
    """A fake landmarker: `face N` has a face with scores N, `nobody` has none, other bytes are unreadable."""

    names = names.ALL

    @classmethod
    def create_from_options(cls, options: SimpleNamespace) -> "Landmarker":
        assert options.output_face_blendshapes
        if Path(options.base_options.model_asset_path).read_text() != "model":
            raise RuntimeError("not a model")
        return cls()

    def detect(self, picture: str) -> SimpleNamespace:
        if picture == "nobody":
            return SimpleNamespace(face_blendshapes=[])
        score = float(picture.removeprefix("face "))
        entries = [SimpleNamespace(category_name=name, score=score) for name in self.names]
        return SimpleNamespace(face_blendshapes=[entries], face_landmarks=[[]])

    def close(self) -> None:
        pass


def read_picture(path: Path) -> str:
    text = path.read_text()
    if text.startswith(("face", "nobody")):
        return text
    raise RuntimeError("no picture")


@pytest.fixture
def mediapipe(monkeypatch: pytest.MonkeyPatch) -> type[Landmarker]:
    vision = SimpleNamespace(FaceLandmarkerOptions=SimpleNamespace, FaceLandmarker=Landmarker)
    top, tasks, python = (
        types.ModuleType(name) for name in ("mediapipe", "mediapipe.tasks", "mediapipe.tasks.python")
    )
    top.Image, top.ImageFormat = (lambda image_format, data: data), SimpleNamespace(SRGB="rgb")
    monkeypatch.setattr(pictures, "read", read_picture)
    python.BaseOptions, python.vision = SimpleNamespace, vision
    for module in (top, tasks, python):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return Landmarker


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "task").write_text("model")
    for split in ("train", "test"):
        for label, count in (("happy", 3), ("sad", 2)):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.png").write_text(f"face 0.123456789{number}")
    (tmp_path / "images/train/sad/nobody.png").write_text("nobody")
    (tmp_path / "images/train/sad/torn.png").write_text("torn")
    (tmp_path / "images/train/else.png").write_text("face 0.5")
    return tmp_path / "images"


def prepare(images: Path, *more: str) -> int:
    model = images.parent / "task"
    words = ["--images", str(images), "--model", str(model), "--to", str(images.parent / "out"), *more]
    return command.main(["prepare", "blendshapes", *words])


def test_every_face_becomes_a_row_and_what_is_dropped_is_counted_by_class(mediapipe, images, capsys):
    assert prepare(images) == 0
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (event["faces"], event["dropped"], event["unreadable"]) == (10, 1, 1)
    assert event["classes"]["sad"] == {"used": 4, "no face": 1, "unreadable": 1}
    folder = Path(event["folders"]["blendshapes"])
    assert sorted(path.name for path in folder.iterdir()) == ["test.csv", "train.csv"]
    row = faces.read(folder / "train.csv")[1]
    assert (row["label"], row["file"], row["mouthPucker"]) == ("happy", "train/happy/1.png", "0.1234567891")
    report, _ = faces.check(images.parent / "out", classes=["happy", "sad"])
    assert report["data"]["used"] == 10


def test_a_picture_whose_name_is_no_utf8_becomes_a_row(mediapipe, images, capsys):
    name = os.fsdecode(b"caf\xe9.png")
    (images / "train/sad" / name).write_text("face 0.5")
    assert prepare(images) == 0
    rows = faces.read(images.parent / "out" / "blendshapes" / "train.csv")
    assert r"train/sad/caf\udce9.png" in {row["file"] for row in rows}


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (lambda images: (images.parent / "task").write_text("x"), 2, "MediaPipe cannot use it: not a model"),
        (
            lambda images: [p.write_text("nobody") for p in images.rglob("*.png")],
            65,
            "found no face in 12 pictures",
        ),
        (lambda images: (images / "train").rename(images.parent / "x"), 0, "faces"),
        (
            lambda images: [p.rename(p.with_suffix(".txt")) for p in images.rglob("*.png")],
            65,
            "no picture lies",
        ),
        (
            lambda images: setattr(Landmarker, "names", names.ALL[:51]),
            65,
            "has other blendshapes: noseSneerRight",
        ),
    ],
)
def test_unusable_pictures_are_explained_in_a_sentence(
    mediapipe, images, monkeypatch, capsys, change, code, message
):
    monkeypatch.setattr(Landmarker, "names", names.ALL)
    change(images)
    assert prepare(images) == code
    output = capsys.readouterr()
    assert message in output.out + output.err


def test_without_mediapipe_the_package_is_named(images, monkeypatch, capsys):
    real = builtins.__import__

    def absent(name: str, *rest: object, **more: object) -> object:
        if name.startswith("mediapipe"):
            raise ModuleNotFoundError("No module named 'mediapipe'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert prepare(images) == 2
    assert "pip install mediapipe" in capsys.readouterr().err


def test_a_missing_model_file_is_reported(images, capsys):
    assert command.main(["prepare", "blendshapes", "--images", str(images)]) == 2
    assert "--model is missing" in capsys.readouterr().err
    assert command.main(["prepare", "blendshapes", "--imges", str(images)]) == 2
    assert "did you mean --images?" in capsys.readouterr().err


def prepared(images: Path, capsys: pytest.CaptureFixture[str]) -> dict:
    assert prepare(images) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_folders_with_other_words_for_an_emotion_are_read_and_listed(mediapipe, images, capsys):
    for old, new in (("happy", "Happiness"), ("sad", "2_sadness")):
        for split in ("train", "test"):
            (images / split / old).rename(images / split / new)
    event = prepared(images, capsys)
    assert event["read_as"] == {"Happiness": "happy", "2_sadness": "sad"}
    assert event["classes"]["happy"]["used"] == 6


def test_folders_that_name_no_emotion_are_counted_by_name(mediapipe, images, capsys):
    (images / "train" / "happy").rename(images / "train" / "laughing")
    event = prepared(images, capsys)
    assert event["folders_of_no_emotion"] == {"train": 1, "train/laughing": 3}


@pytest.mark.parametrize("word", ["validation", "Valid", "dev", "eval", "PublicTest"])
def test_folders_may_name_the_validation_split_by_any_of_its_words(mediapipe, images, capsys, word):
    (images / "test").rename(images / word)
    event = prepared(images, capsys)
    assert (Path(event["folders"]["blendshapes"]) / "val.csv").is_file()


def test_pictures_of_which_some_name_no_split_are_refused(mediapipe, images, capsys):
    (images / "test").rename(images / "more")
    assert prepare(images) == 65
    assert "5 pictures name no split, but 7 are of train" in capsys.readouterr().err


def test_three_pictures_of_one_moment_are_in_one_split():
    def person(name: str) -> str:
        return pictures.Picture(Path(name), name, "", "happy").person

    assert person("S010_004_00000017.png") == person("S010_004_00000018.png") == "S010"
    assert person("AF01ANS.JPG") == person("BF01HAHL.JPG") == "F01"
    assert person("KA.AN1.39.tiff") == "KA"
    assert person("Training_00000017.jpg") == person("0.png") == ""


def write_few(root: Path) -> None:
    """Three pictures of train, two of test and one of a rarer class of train."""
    for place, label, count in (("train/happy", 3, 3), ("train/sad", 5, 1), ("test/happy", 3, 2)):
        for number in range(count):
            public_pictures.write_picture(root / place / f"{number}.png", label, number + len(place) * 100)


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_few(tmp_path / "images")
    (tmp_path / "face_landmarker.task").touch()
    monkeypatch.setattr(preparation, "Landmarker", public_pictures.Landmarker)
    return tmp_path


def augmented(few: Path, *more: str) -> int:
    words = ["--images", "images", "--model", "face_landmarker.task", "--to", "out", *more]
    return command.main(["-C", str(few), "prepare", "blendshapes", *words])


def test_copies_of_training_pictures_fill_each_class_and_test_stays(few, capsys):
    tables = []
    for seed in ("0", "0", "1"):
        assert augmented(few, "--augment", "6", "--seed", seed) == 0
        event = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert event["augmented"] == {"happy": 3, "sad": 5}
        assert event["faces"] == 6
        tables.append((few / "out" / "blendshapes" / "train.csv").read_text())
    assert tables[0] == tables[1] != tables[2]
    rows = faces.read(few / "out" / "blendshapes" / "train.csv")
    assert [row["label"] for row in rows].count("happy") == [row["label"] for row in rows].count("sad") == 6
    assert {row["file"] for row in rows if row["label"] == "sad"} == {"train/sad/0.png"}
    assert len({tuple(row.values()) for row in rows}) == 12
    assert len(faces.read(few / "out" / "blendshapes" / "test.csv")) == 2


def test_a_picture_has_at_most_eight_copies(few, capsys):
    assert augmented(few, "--augment", "100") == 0
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert event["augmented"] == {"happy": 24, "sad": 8}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["blendshapes", "--augment", "9"], "no folder is named train"),
        (["blendshapes", "--augment", "0"], "takes no --augment 0"),
        (["slowfast", "--augment", "9"], "prepare slowfast takes no --augment 9"),
    ],
)
def test_augmenting_what_is_not_for_training_is_refused(few, words, message, capsys):
    (few / "images" / "train").rename(few / "images" / "more")
    (few / "images" / "test").rename(few / "images" / "others")
    inputs = ["--images", "images", "--model", "face_landmarker.task"]
    inputs = inputs if words[0] == "blendshapes" else ["--crema", "images"]
    assert command.main(["-C", str(few), "prepare", *words, *inputs]) == 2
    assert message in capsys.readouterr().err


def test_a_changed_picture_shows_the_same_thing_a_little_differently():
    picture = np.full((60, 80, 3), 100, np.uint8)
    picture[20:40, 30:50] = 220
    copies = [pictures.changed(picture, 0, "a.png", copy) for copy in range(20)]
    for copy in copies:
        assert (copy.shape, copy.dtype) == (picture.shape, np.uint8)
        rows, columns = np.nonzero(copy[..., 0] > copy[..., 0].mean() + 40)
        assert 22 < rows.mean() < 37
        assert 30 < columns.mean() < 50
        assert 200 < len(rows) < 700
    assert len({copy.tobytes() for copy in copies}) == 20
    assert (pictures.changed(picture, 0, "a.png", 3) == copies[3]).all()
