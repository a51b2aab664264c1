"""Samples and data sets that differ in form or in content: the same answer, or a different data set."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from checkpoints import TRAINERS
from test_reading_rules import PLAIN, Data

from trainers import registry
from trainers.blendshapes import pictures
from trainers.engine import checkpoint
from trainers.engine.events import Silent
from trainers.engine.trainer import Trainer

ARRAYS = ("facenet-lstm", "i3d-teacher", "mobilenet-v3")


@pytest.fixture(scope="module", params=TRAINERS)
def saved(request, tmp_path_factory) -> checkpoint.Checkpoint:
    return checkpoint.read(checkpoints.write(request.param, tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def trainer(saved) -> Trainer:
    return registry.trainer(saved.manifest["trainer"]).restore(saved)


def answer(trainer: Trainer, path: Path) -> dict:
    (found,) = trainer.predict([path])
    assert "error" not in found, found
    return {key: value for key, value in found.items() if key != "file"}


FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the other byte order": lambda values: values.astype(">f4"),
    "double precision": lambda values: values.astype(np.float64),
    "columns first": np.asfortranarray,
    "a view with steps": lambda values: np.repeat(values, 2, 0)[::2],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("saved", ARRAYS, indirect=True)
def test_the_form_of_an_array_does_not_change_the_answer(trainer, form, tmp_path):
    key = "video_features" if trainer.name == "facenet-lstm" else "features"
    values = checkpoints.embeddings() if trainer.name == "facenet-lstm" else checkpoints.landmarks()
    answers = []
    for name, change in (("plain", np.asarray), ("changed", FORMS[form])):
        np.savez_compressed(tmp_path / f"{name}.npz", **{key: change(values)})
        answers.append(answer(trainer, tmp_path / f"{name}.npz"))
    assert answers[0] == answers[1]


def test_an_input_much_longer_than_those_of_training_is_answered(trainer, tmp_path):
    path = checkpoints.write_input(trainer.name, tmp_path)
    if trainer.name == "slowfast":
        return  # refused by its length: test_slowfast_odd_videos.py
    if trainer.name == "blendshapes":
        header, row = path.read_text().splitlines()
        path.write_text("\n".join([header, *[row] * 3000]))
        assert len(list(trainer.predict([path]))) == 3000
        return
    if trainer.name == "facenet-lstm":
        np.savez(path, video_features=checkpoints.embeddings(2000))
    else:
        np.savez(path, features=checkpoints.landmarks(400).astype(np.float16))
    assert answer(trainer, path)


@pytest.mark.parametrize("saved", ["blendshapes", "facenet-lstm", "slowfast"], indirect=True)
def test_a_checkpoint_whose_classes_are_in_another_order_is_refused(saved):
    facts = saved.manifest["preprocessing"]
    turned = {**saved.manifest, "preprocessing": {**facts, "classes": facts["classes"][::-1]}}
    with pytest.raises(checkpoint.Damaged, match="it has other classes"):
        registry.trainer(saved.manifest["trainer"]).restore(dataclasses.replace(saved, manifest=turned))


class Readable(Data):
    """Data of few samples, each of which the trainer can read."""

    def fill(self) -> None:
        draw = np.random.default_rng(0)
        for path in [path for files in self.files.values() for path in files]:
            if self.name == "facenet-lstm":
                rows = draw.standard_normal((9, 512)).astype(np.float32)
                np.savez(path, video_features=rows / np.linalg.norm(rows, axis=1, keepdims=True))
            elif self.folder == "phoenix":
                np.savez(path, features=draw.random((12, 1629)).astype(np.float32))
            elif self.name == "slowfast":
                checkpoints.sample.write_video(path, draw.integers(0, 255, (12, 48, 48, 3), np.uint8), "flv1")

    def fingerprint(self, root: Path) -> str:
        """The fingerprint of a copy of the data at another place."""
        config = registry.describe(self.name).config()
        folder = root / "elsewhere"
        shutil.copytree(self.root, folder, symlinks=True)
        try:
            trainer = registry.trainer(self.name)
            return str(trainer.load(config, {self.folder: folder}, root / "cache", Silent()).fingerprint)
        finally:
            shutil.rmtree(folder)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_changed_data_set_has_another_fingerprint_a_moved_one_not(name, tmp_path, monkeypatch):
    actors = {"train": range(1001, 1003), "val": range(1011, 1012), "test": range(1021, 1022)}
    monkeypatch.setattr("test_reading_rules.ACTORS", actors)
    data = Readable(name, tmp_path / "data", PLAIN)
    data.fill()
    before = data.fingerprint(tmp_path)
    assert data.fingerprint(tmp_path) == before
    path = data.files["train"][0]
    changes: list[Callable[[], object]] = [
        lambda: path.unlink() if name != "blendshapes" else _edit(path, lambda lines: lines[:-1])
    ]
    if name == "blendshapes":
        changes += [
            lambda: _edit(path, lambda lines: [lines[0], lines[1].replace("happy", "sad"), *lines[2:]]),
            lambda: _edit(path, lambda lines: [lines[0], lines[1].replace("0.0", "0.1"), *lines[2:]]),
        ]
    elif data.folder == "phoenix":
        corpus = data.root / "train.corpus.csv"
        changes += [lambda: _edit(corpus, lambda lines: [*lines[:-1], lines[-1].replace("WIND", "SONNE")])]
    else:
        changes += [
            lambda: path.rename(path.with_name(path.name.replace("_ANG_", "_SAD_"))),
            lambda: shutil.copy(data.files["train"][1], path),
        ]
    content = path.read_bytes()
    seen = {before}
    for change in changes:
        change()
        seen.add(data.fingerprint(tmp_path))
        for other in path.parent.glob(f"{path.name[:9]}SAD*") if data.folder == "crema" else ():
            other.unlink()
        path.write_bytes(content)
    assert len(seen) == 1 + len(changes)


def _edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_orientation_says(tmp_path, orientation):
    image = pytest.importorskip("PIL.Image")
    turn = [None, None, *(image.Transpose(n) for n in (0, 3, 1, 5, 2, 6, 4))][orientation]
    shown = image.fromarray(np.add.outer(np.arange(48) * 4, np.arange(64)).astype(np.uint8))
    exif = image.Exif()
    exif[0x0112] = orientation
    stored = shown if turn is None else shown.transpose(turn)
    stored.save(tmp_path / "x.jpg", exif=exif, quality=100)
    values = pictures.read(tmp_path / "x.jpg").astype(int)
    assert values.shape == (48, 64, 3)
    assert np.abs(values[..., 0] - np.asarray(shown).astype(int)).mean() < 3
