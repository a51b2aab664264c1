"""`predict` answers a file or says in one sentence why it cannot: the same rules for all trainers."""

import os
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from checkpoints import TRAINERS

from trainers import registry
from trainers.engine import checkpoint
from trainers.engine.trainer import Trainer

SIGN = ("i3d-teacher", "mobilenet-v3")


@pytest.fixture(scope="module", params=TRAINERS)
def trainer(request, tmp_path_factory) -> Trainer:
    """A restored trainer."""
    name = request.param
    saved = checkpoint.read(checkpoints.write(name, tmp_path_factory.mktemp(name)))
    return registry.trainer(name).restore(saved)


@pytest.fixture(scope="module")
def sign(tmp_path_factory) -> Trainer:
    saved = checkpoint.read(checkpoints.write("i3d-teacher", tmp_path_factory.mktemp("sign")))
    return registry.trainer("i3d-teacher").restore(saved)


@pytest.fixture
def good(trainer: Trainer, tmp_path: Path) -> Path:
    """A file that the trainer answers."""
    return checkpoints.write_input(trainer.name, tmp_path)


def error(trainer: Trainer, path: Path) -> str:
    """Why the trainer refuses a file. Fails unless the refusal is one line that names the file."""
    (answer,) = trainer.predict([path])
    assert answer["file"].startswith(str(path)), answer
    assert set(answer) == {"file", "error"}, answer
    assert "\n" not in answer["error"]
    return str(answer["error"])


def test_a_refused_file_leaves_the_others_their_answers(trainer, good, tmp_path):
    broken = tmp_path / f"broken{good.suffix}"
    broken.write_bytes(b"")
    first, second, third = trainer.predict([good, broken, good])
    assert "error" not in first
    assert second["error"] == "is empty: 0 bytes"
    assert third == first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: 0 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "run git lfs pull"),
        (b"hello world\n" * 100, ""),
        (bytes(5000), ""),
        (bytes(range(256)) * 20, ""),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(128, 256)) * 9, ""),
        (b"PK\x03\x04" + bytes(range(256)), ""),
    ],
    ids=["empty", "lfs", "text", "zeros", "bytes", "picture", "archive"],
)
def test_content_of_another_kind_is_refused(trainer, good, content, message):
    good.write_bytes(content)
    why = error(trainer, good)
    assert message in why
    assert len(why) < 300
    assert "pickle" not in why
    assert "unsafely" not in why


def test_the_first_half_of_a_file_is_refused(trainer, good):
    content = good.read_bytes()
    good.write_bytes(content[: len(content) // 2])
    assert error(trainer, good)


@pytest.mark.parametrize("other", TRAINERS)
def test_the_input_of_another_trainer_is_refused(trainer, other, tmp_path):
    if other == trainer.name or {other, trainer.name} == set(SIGN):
        return
    assert error(trainer, checkpoints.write_input(other, tmp_path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is a folder, not a file"),
        (lambda path: path.symlink_to("gone"), "is a link to nothing: gone"),
        (lambda path: path.symlink_to(path.name), "is a link to nothing"),
        (os.mkfifo, "is no regular file"),
    ],
    ids=["missing", "folder", "dangling link", "link to itself", "pipe"],
)
def test_a_path_that_is_no_file_is_refused_without_opening_it(trainer, good, make, message):
    good.unlink()
    make(good)
    assert message in error(trainer, good)


def test_a_file_that_the_system_cannot_read_is_told_from_a_broken_one(trainer, good, monkeypatch):
    def refuse(path, *_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr("trainers.slowfast.video._File", refuse)
    assert "could not be read: Permission denied: check the disk, permissions" in error(trainer, good)


ARRAYS = {
    "NaN": lambda values: np.where(values == values[3, 3], np.nan, values),
    "infinity": lambda values: np.where(values == values[3, 3], np.inf, values),
    "nothing but zeros": lambda values: np.zeros_like(values),
    "beyond float32": lambda values: values.astype(np.float64) * 1e300,
    "whole numbers": lambda values: (100 * values).astype(int),
    "a batch": lambda values: values[None],
    "one frame": lambda values: values[0],
    "no frame": lambda values: values[:0],
    "too few frames": lambda values: values[:2],
    "a column too few": lambda values: values[:, :-1],
    "words": lambda values: values.astype(str),
    "objects": lambda values: np.array([{"a": 1}], dtype=object),
}


@pytest.mark.parametrize("change", ARRAYS)
@pytest.mark.parametrize("trainer", ["facenet-lstm", *SIGN], indirect=True)
def test_arrays_that_training_refuses_are_refused(trainer, tmp_path, change):
    sign = trainer.name in SIGN
    values = ARRAYS[change](checkpoints.landmarks() if sign else checkpoints.embeddings())
    np.savez(tmp_path / "x.npz", **{"features" if sign else "video_features": values})
    assert error(trainer, tmp_path / "x.npz")


@pytest.mark.parametrize("trainer", ["blendshapes"], indirect=True)
def test_a_table_without_a_row_is_refused(trainer, good):
    good.write_text(good.read_text().splitlines()[0] + "\n")
    assert error(trainer, good) == "holds no sample"


def without(values: np.ndarray, first: int, end: int, steps: slice) -> np.ndarray:
    """Landmarks (T, 1629) of which a range is not detected in some frames."""
    values = values.copy()
    values[steps, 3 * first : 3 * end] = 0.0
    return values


def test_landmarks_of_another_layout_are_refused(sign, tmp_path):
    face = sign.layout.groups["face"][0] // 3
    hand = without(checkpoints.landmarks(), face, face + 21, slice(5, 9))  # where a hand is in another layout
    np.savez(tmp_path / "x.npz", features=hand)
    assert "does not have the layout of the model" in error(sign, tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("steps", "warning"),
    [(slice(5, 9), None), (slice(None), "left hand missing in every frame")],
    ids=["some", "all"],
)
def test_a_hand_missing_in_every_frame_is_a_warning(sign, tmp_path, steps, warning):
    first, end = (edge // 3 for edge in sign.layout.groups["left_hand"])
    np.savez(tmp_path / "x.npz", features=without(checkpoints.landmarks(), first, end, steps))
    (answer,) = sign.predict([tmp_path / "x.npz"])
    assert answer.get("warning") == warning
    assert "error" not in answer
