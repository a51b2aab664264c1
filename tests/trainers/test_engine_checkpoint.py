"""Checkpoints are complete or absent, verified by digests, and loaded strictly."""

import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from trainers.engine import checkpoint


def save(root: Path, step: int, model: nn.Module | None = None) -> Path:
    state = {"state": {"step": step}}
    return checkpoint.save(root, step, model or nn.Linear(2, 3), state, {"trainer": "x"})


def test_a_checkpoint_is_restored_exactly(tmp_path):
    model = nn.Linear(2, 3)
    loaded = checkpoint.read(save(tmp_path, 7, model))
    other = nn.Linear(2, 3)
    checkpoint.load_weights(other, loaded)
    assert torch.equal(other.weight, model.weight)
    assert loaded.manifest["step"] == 7
    assert loaded.trainer_state() == {"state": {"step": 7}}


def test_a_checkpoint_has_the_documented_files_with_correct_digests(tmp_path):
    path = save(tmp_path, 1)
    names = {"model.safetensors", "trainer.pt", "manifest.json", "manifest.sha256"}
    assert {file.name for file in path.iterdir()} == names
    digest = hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest()
    assert (path / "manifest.sha256").read_text() == f"{digest}  manifest.json\n"
    files = json.loads((path / "manifest.json").read_text())["files"]
    for name, entry in files.items():
        content = (path / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


@pytest.mark.parametrize("name", ["model.safetensors", "trainer.pt", "manifest.json", "manifest.sha256"])
@pytest.mark.parametrize("way", ["cut", "flipped", "gone", "empty"])
def test_one_wrong_byte_anywhere_is_detected(name, way, tmp_path):
    file = save(tmp_path, 1) / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if way == "gone":
        file.unlink()
    else:
        file.write_bytes({"cut": content[:-1], "flipped": content, "empty": b""}[way])
    with pytest.raises(checkpoint.Damaged):
        checkpoint.read(tmp_path / "1")


def test_the_newest_complete_one_is_used_and_damaged_ones_are_set_aside(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    (tmp_path / "3" / "trainer.pt").write_bytes(b"")
    messages: list[str] = []
    loaded = checkpoint.newest(tmp_path, messages.append)
    assert loaded is not None
    assert loaded.manifest["step"] == 2
    assert "checkpoint 3 is skipped" in messages[0]
    assert checkpoint.steps(tmp_path) == [2, 1]


class Renamed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(2, 3)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(2, 4), r"weight is \(3, 2\), the model has \(4, 2\)"),
        (nn.Linear(2, 3, bias=False), "bias is not of this model"),
        (Renamed(), "other.bias is missing"),
        (nn.Linear(2, 3).double(), "weight is"),
    ],
)
def test_a_model_of_another_make_is_refused(model, message, tmp_path):
    loaded = checkpoint.read(save(tmp_path, 1))
    with pytest.raises(checkpoint.Damaged, match=message):
        checkpoint.load_weights(model, loaded)


def test_the_last_two_and_the_best_are_kept(tmp_path):
    for step in range(1, 7):
        save(tmp_path, step)
        checkpoint.point(tmp_path, "last", step)
        if step == 2:
            checkpoint.point(tmp_path, "best", step)
        checkpoint.prune(tmp_path)
    assert checkpoint.steps(tmp_path) == [6, 5, 2]
    assert checkpoint.pointed(tmp_path, "best") == 2
    assert (tmp_path / "last").read_text() == "6\n"


def test_files_left_by_a_killed_process_are_removed(tmp_path):
    save(tmp_path, 1)
    (tmp_path / ".2.99.tmp").mkdir()
    (tmp_path / ".last.99.tmp").write_text("2")
    checkpoint.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"1"}


def test_saving_a_step_again_replaces_its_checkpoint(tmp_path):
    save(tmp_path, 1)
    model = nn.Linear(2, 3)
    loaded = checkpoint.read(save(tmp_path, 1, model))
    assert torch.equal(loaded.weights()["weight"], model.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_a_trainer_state_that_would_run_code_is_not_loaded(tmp_path):
    path = checkpoint.save(tmp_path, 1, nn.Linear(1, 1), {"state": Path}, {"trainer": "x"})
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.read(path).trainer_state()


def test_pruning_removes_a_checkpoint_atomically(tmp_path, monkeypatch):
    """A kill during the removal must not leave an incomplete checkpoint under its name."""
    for step in (1, 2, 3):
        save(tmp_path, step)
        checkpoint.point(tmp_path, "last", step)

    def killed(path, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.prune(tmp_path)
    assert checkpoint.steps(tmp_path) == [3, 2]
