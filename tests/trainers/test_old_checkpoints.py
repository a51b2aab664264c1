"""Checkpoints of an earlier version's classifiers are restored and resumed with the same outputs.

The fixtures were written by commit 55b617d: small models on small samples, halted half way, with the
outputs of that version and the checkpoints that it reached by training on.
"""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import trainer_runs as runs

from trainers import __main__ as command
from trainers.engine import checkpoint
from trainers.facenet_lstm.trainer import FacenetTrainer

FIXTURES = Path(__file__).parents[1] / "fixtures" / "classifiers"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())


def unpacked(name: str, to: Path) -> Path:
    with tarfile.open(FIXTURES / f"{name}.tar.xz") as tar:
        tar.extractall(to, filter="data")
    return to


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of blendshapes that was halted at the checkpoint of step 6; its data is in `data`."""
    unpacked("blendshapes-checkpoint", tmp_path / "runs" / "old" / "checkpoints")
    unpacked("blendshapes-data", tmp_path / "data")
    return tmp_path / "runs" / "old"


def test_an_old_facenet_checkpoint_gives_the_logits_it_gave(tmp_path):
    expected = EXPECTED["facenet-lstm"]
    saved = checkpoint.read(unpacked("facenet-lstm-checkpoint", tmp_path) / str(expected["step"]))
    trainer = FacenetTrainer.restore(saved)
    grid = np.add.outer(37 * np.arange(12), 101 * np.arange(512)) % 257
    rows = (grid - 128).astype(np.float32)
    features = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert list(trainer.classes) == expected["classes"]
    assert trainer.answers([features])[0].tolist() == pytest.approx(expected["logits"], abs=1e-4)


def test_an_old_blendshapes_checkpoint_predicts_and_is_verified(run, tmp_path, capsys):
    expected, folder = EXPECTED["blendshapes"], run / "checkpoints" / "last"
    assert command.main(["predict", str(folder), str(tmp_path / "data" / "blendshapes" / "test.csv")]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()][:4]
    assert [answer["label"] for answer in answers] == expected["labels"]
    logits = [answer["logits"] for answer in answers]
    assert np.allclose(logits, expected["logits"], atol=1e-4)
    assert command.main(["verify", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == expected["step"]


def test_an_old_run_is_resumed_to_the_weights_it_would_have_had(run, tmp_path):
    expected, root = EXPECTED["blendshapes"], run / "checkpoints"
    config = json.loads((root / "6" / "manifest.json").read_text())["config"]
    code = runs.train_here("blendshapes", run, {"blendshapes": tmp_path / "data" / "blendshapes"}, config)
    assert code == 0, (run / "log").read_text()
    saved = checkpoint.read(root / str(expected["final_step"]))
    for name, value in saved.weights().items():
        assert value.flatten()[:8].tolist() == pytest.approx(expected["final"][name], abs=1e-4)
    assert json.loads((run / "events.jsonl").read_text().splitlines()[-1])["message"] == expected["message"]


def test_an_old_checkpoint_of_other_classes_is_refused_by_its_path(run, tmp_path, capsys):
    folder = Path(shutil.copytree(run / "checkpoints" / "6", tmp_path / "6"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["preprocessing"]["classes"] = ["happy", "sad"]
    files = {name: manifest["files"][name] for name in manifest["files"]}
    checkpoint._write_manifest(folder, {**manifest, "files": files})
    assert command.main(["verify", str(folder)]) == 1
    assert f"{folder} is no checkpoint of this version of blendshapes" in capsys.readouterr().err
