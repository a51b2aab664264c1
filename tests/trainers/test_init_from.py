"""A run starts from the weights of another one, with its own options, data and preprocessing."""

import json
import shutil
from pathlib import Path

import faces
import pytest
import torch
import trainer_runs as runs
from safetensors.torch import load_file, save_file

from trainers.engine import checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faces.drop_invalid_rows(faces.write(tmp_path_factory.mktemp("faces")))


@pytest.fixture(scope="module")
def parent(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    run = tmp_path_factory.mktemp("root") / "runs" / "parent"
    assert faces.train(run, folder) == 0, (run / "log").read_text()
    return run


def start(run: Path, folder: Path, place: Path, **config: object) -> int:
    """Train as a client starts it: the checkpoint is a data folder."""
    data = {"blendshapes": folder / "blendshapes", "init_from": place}
    return runs.train_here("blendshapes", run, data, {**faces.SMALL, **config})


def saved(run: Path, name: str = "last") -> checkpoint.Checkpoint:
    return checkpoint.read(checkpoint.find(run / "checkpoints" / name))


FROZEN = {"learning_rate": 0.0, "weight_decay": 0.0, "epochs": 1, "warmup_epochs": 0.0}


@pytest.mark.parametrize("place", ["", "checkpoints", "checkpoints/best", "weights.safetensors", "folder"])
def test_a_run_starts_with_the_weights_of_a_checkpoint_run_or_file(place, parent, folder, tmp_path):
    source = parent / place
    if place in ("weights.safetensors", "folder"):
        source = tmp_path / place
        (source if place == "folder" else tmp_path).mkdir(exist_ok=True)
        file = source / "w.safetensors" if place == "folder" else source
        save_file(saved(parent, "best").weights(), file)
    run = tmp_path / "runs" / "child"
    assert start(run, folder, source, **FROZEN) == 0, (run / "log").read_text()
    expected, actual = saved(parent, "best").weights(), saved(run).weights()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    assert f"starts with the weights of {source}" in (run / "log").read_text()


def test_a_run_records_its_parent_in_event_and_checkpoint(parent, folder, tmp_path):
    run = tmp_path / "runs" / "child"
    assert start(run, folder, parent, optimizer="adam", epochs=1) == 0
    origin = saved(run).manifest["init_from"]
    assert (origin["trainer"], origin["step"]) == ("blendshapes", saved(parent, "best").manifest["step"])
    assert origin["manifest"] == (saved(parent, "best").path / "manifest.sha256").read_text().split()[0]
    assert runs.events(run, "start")[0]["init_from"] == origin
    assert saved(parent).manifest.get("init_from") is None


def test_a_resumed_run_keeps_its_parent_and_does_not_start_again(parent, folder, tmp_path):
    run, place = tmp_path / "runs" / "child", tmp_path / "parent"
    shutil.copytree(parent, place)
    assert start(run, folder, place, epochs=2) == 0
    before = saved(run)
    shutil.rmtree(run / "checkpoints" / str(before.manifest["step"]))
    shutil.rmtree(place)
    place.mkdir()
    assert start(run, folder, place, epochs=2) == 0, (run / "log").read_text()
    again = saved(run)
    assert again.manifest["init_from"] == before.manifest["init_from"]
    assert all(torch.equal(a, again.weights()[name]) for name, a in before.weights().items())


def test_layers_that_do_not_fit_are_refused_by_name(parent, folder, tmp_path, capsys):
    run = tmp_path / "runs" / "child"
    assert start(run, folder, parent, hidden=[8]) == 64
    message = runs.events(run, "end")[-1]["message"]
    assert "layers.0.linear.weight is (16, 33), the model has (8, 33)" in message
    assert "answer.weight is (3, 16), the model has (3, 8)" in message
    assert not (run / "checkpoints").exists()


@pytest.mark.parametrize("classes", [["sad", "happy", "neutral"], ["happy", "sad", "neutral", "angry"]])
def test_a_head_for_other_classes_is_refused_or_trained_anew(classes, parent, folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder / "blendshapes", data / "blendshapes")
    if "angry" in classes:
        for name in ("train", "val", "test"):
            faces.edit(data / "blendshapes" / f"{name}.csv", _some_angry)
    refused, run = tmp_path / "runs" / "refused", tmp_path / "runs" / "child"
    assert start(refused, data, parent, classes=classes) == 64
    assert "answer.weight is " in runs.events(refused, "end")[-1]["message"]
    assert "init_head: skip" in runs.events(refused, "end")[-1]["message"]
    assert start(run, data, parent, classes=classes, init_head="skip", **FROZEN) == 0, (
        run / "log"
    ).read_text()
    assert saved(run).manifest["init_from"]["skipped"] == ["answer.bias", "answer.weight"]
    assert "a new head is trained: answer.bias, answer.weight" in runs.events(run, "warning")[0]["message"]
    expected, actual = saved(parent, "best").weights(), saved(run).weights()
    assert torch.equal(expected["layers.0.linear.weight"], actual["layers.0.linear.weight"])
    assert not torch.equal(expected["answer.bias"], actual["answer.bias"][:3])


def _some_angry(rows: faces.Rows) -> None:
    for row in rows[::5]:
        row["label"] = "angry"


def test_a_checkpoint_of_another_trainer_is_refused(parent, folder, tmp_path):
    place = tmp_path / "5"
    shutil.copytree(saved(parent).path, place)
    manifest = json.loads((place / "manifest.json").read_text())
    checkpoint._write_manifest(place, {**manifest, "trainer": "facenet-lstm"})
    run = tmp_path / "runs" / "child"
    assert start(run, folder, place) == 64
    assert "a checkpoint of facenet-lstm, this run trains" in runs.events(run, "end")[-1]["message"]


@pytest.mark.parametrize("damage", ["bytes", "pickle", "absent", "nan"])
def test_weights_that_are_damaged_or_no_checkpoint_are_refused(damage, parent, folder, tmp_path):
    place = tmp_path / "5"
    if damage == "bytes":
        shutil.copytree(saved(parent).path, place)
        content = bytearray((place / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (place / "model.safetensors").write_bytes(content)
    elif damage == "nan":
        place = tmp_path / "weights.safetensors"
        weights = saved(parent).weights()
        next(iter(weights.values())).view(-1)[0] = float("nan")
        save_file(weights, place)
    elif damage == "pickle":
        place.mkdir()
        torch.save({}, place / "model.pt")
    run = tmp_path / "runs" / "child"
    assert start(run, folder, place) == 64
    said = {"bytes": "another sha256", "pickle": "is neither a checkpoint", "absent": f"there is no {place}"}
    said["nan"] = "holds NaN or infinity"
    assert said[damage] in runs.events(run, "end")[-1]["message"]
    assert "Traceback" not in (run / "log").read_text()


def test_test_samples_that_the_parent_was_trained_on_are_refused(parent, folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder / "blendshapes", other / "blendshapes")
    (other / "blendshapes" / "test.csv").rename(other / "blendshapes" / "old.csv")
    (other / "blendshapes" / "train.csv").rename(other / "blendshapes" / "test.csv")
    (other / "blendshapes" / "old.csv").rename(other / "blendshapes" / "train.csv")
    run = tmp_path / "runs" / "child"
    assert start(run, other, parent) == 64
    assert "test samples were trained on by" in runs.events(run, "end")[-1]["message"]


def test_what_the_parent_was_trained_on_counts_as_trained_on(parent, folder, tmp_path):
    less = tmp_path / "less"
    shutil.copytree(folder / "blendshapes", less / "blendshapes")
    faces.edit(less / "blendshapes" / "train.csv", lambda rows: rows[::2])
    run = tmp_path / "runs" / "child"
    assert start(run, less, parent, epochs=1) == 0, (run / "log").read_text()
    assert set(saved(run).manifest["trained_on"]) == set(saved(parent).manifest["trained_on"])


def test_check_reports_weights_that_do_not_fit(parent, folder, tmp_path):
    report, code = faces.check(folder, "full", init_from=str(parent), hidden=[8])
    assert code == 64
    assert "layers.0.linear.weight" in faces.messages(report, "init.fit")
    assert "init_from" in report["paths"]


def test_statistics_are_those_of_the_new_training_split(parent, folder, tmp_path):
    less = tmp_path / "less"
    shutil.copytree(folder / "blendshapes", less / "blendshapes")
    faces.edit(less / "blendshapes" / "train.csv", lambda rows: rows[::2])
    run = tmp_path / "runs" / "child"
    assert start(run, less, parent, **FROZEN) == 0
    mean = torch.tensor(saved(run).manifest["preprocessing"]["normalisation"]["mean"])
    assert torch.equal(load_file(saved(run).path / "model.safetensors")["mean"], mean)
    assert not torch.equal(saved(parent).weights()["mean"], mean)
