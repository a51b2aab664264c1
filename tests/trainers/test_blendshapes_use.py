"""A trained checkpoint gives the same logits for raw blendshapes in Python and as exported program."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import faces
import numpy as np
import pytest
import torch
import trainer_runs as runs
from torch import Tensor

from tests.rigs.torchpython import environment as torchpython
from trainers import __main__ as command
from trainers.blendshapes import names
from trainers.blendshapes.config import Config
from trainers.blendshapes.data import values_of
from trainers.blendshapes.model import Blendshapes
from trainers.blendshapes.trainer import BlendshapesTrainer
from trainers.engine import checkpoint
from trainers.engine import config as options
from trainers.engine.distributed import Group
from trainers.engine.events import Events, Silent
from trainers.engine.loop import TrainingLoop
from trainers.engine.output import Summary


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faces.drop_invalid_rows(faces.write(tmp_path_factory.mktemp("faces"), 900))


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short training."""
    place = tmp_path_factory.mktemp("root") / "runs" / "short"
    assert faces.train(place, folder) == 0, (place / "log").read_text()
    return place


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("exported")
    assert command.main(["export", str(run / "checkpoints" / "best"), "--to", str(to)]) == 0
    return to


def best(run: Path) -> checkpoint.Checkpoint:
    root = run / "checkpoints"
    return checkpoint.read(root / (root / "best").read_text().strip())


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[dict]]:
    capsys.readouterr()
    code = command.main([str(word) for word in words])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def raw_of(path: Path) -> np.ndarray:
    rows = faces.read(path)
    return np.array([[float(row[name]) for name in names.SETS[33]] for row in rows], dtype=np.float32)


APPLICATION = """
import json, sys
assert "trainers" not in sys.modules
import torch
told = json.load(open(sys.argv[1] + "/preprocessing.json"))
program = torch.export.load(sys.argv[1] + "/model.pt2").module()
with torch.no_grad():
    print(json.dumps(program(torch.tensor(json.load(open("inputs.json")))).tolist()))
"""


@pytest.fixture(scope="module")
def answers(
    run: Path, exported: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    """What another program, with torch alone, gets from what was exported: raw faces, normalised ones,
    and the checkpoint's proof."""
    raw = raw_of(folder / "blendshapes" / "test.csv")
    proof = np.array(best(run).manifest["proof"]["raw"], dtype=np.float32)
    inputs = np.concatenate([raw, normalised(raw), proof])
    place = tmp_path_factory.mktemp("application")
    (place / "application.py").write_text(APPLICATION)
    (place / "inputs.json").write_text(json.dumps(inputs.tolist()))
    with (place / "out").open("w+") as out:
        process = torchpython.shared().start([str(exported)], {}, place, out, "application")
        assert process.wait() == 0, (place / "out").read_text()
    outputs = np.array(json.loads((place / "out").read_text()), dtype=np.float32)
    return {
        "raw": outputs[: len(raw)],
        "normalised": outputs[len(raw) : -len(proof)],
        "proof": outputs[-len(proof) :],
    }


def normalised(raw: np.ndarray) -> np.ndarray:
    """Return the faces normalised as the training does it."""
    return np.asarray((raw - raw.mean(0)) / raw.std(0))


def test_predict_and_the_exported_program_agree_on_raw_faces(run, answers, folder, capsys):
    path = folder / "blendshapes" / "test.csv"
    code, lines = call(capsys, "predict", run / "checkpoints" / "best", path)
    assert code == 0
    expected = np.array([line["logits"] for line in lines], dtype=np.float32)
    assert np.abs(answers["raw"] - expected).max() < 1e-4
    assert np.abs(answers["proof"] - np.array(best(run).manifest["proof"]["logits"])).max() < 1e-4
    assert lines[0]["file"] == f"{path}:2"
    assert lines[0]["label"] == max(lines[0]["probabilities"], key=lines[0]["probabilities"].get)


def test_input_that_an_application_has_normalised_is_refused(run, answers, folder, tmp_path, capsys):
    assert np.isnan(answers["normalised"]).all()
    wrong = normalised(raw_of(folder / "blendshapes" / "test.csv"))

    def normalise(rows: faces.Rows) -> None:
        for row, values in zip(rows, wrong, strict=True):
            row.update({name: repr(float(v)) for name, v in zip(names.SETS[33], values, strict=True)})

    shutil.copy(folder / "blendshapes" / "test.csv", tmp_path / "mine.csv")
    faces.edit(tmp_path / "mine.csv", normalise)
    code, lines = call(capsys, "predict", run / "checkpoints" / "best", tmp_path / "mine.csv")
    assert code == 1
    assert all("outside 0 to 1" in line["error"] for line in lines)


def test_code_that_no_longer_normalises_is_refused_by_the_stored_logits(run, monkeypatch, capsys):
    forward = Blendshapes.forward

    def forgetful(self: Blendshapes, raw: Tensor, keys: Tensor) -> Tensor:
        return forward(self, raw * self.std + self.mean, keys)  # as if the model did not normalise

    monkeypatch.setattr(Blendshapes, "forward", forgetful)
    for words in (["predict", "x.csv"], ["export", "--to", "x"], ["verify"]):
        assert command.main([words[0], str(run / "checkpoints" / "best"), *words[1:]]) == 1
        assert "from those of the training" in capsys.readouterr().err


def test_a_vector_in_another_order_is_matched_by_name(run, folder, tmp_path, capsys):
    shutil.copy(folder / "blendshapes" / "test.csv", tmp_path / "turned.csv")
    faces.edit(tmp_path / "turned.csv", lambda rows: [dict(reversed(row.items())) for row in rows])
    place = run / "checkpoints" / "best"
    _, turned = call(capsys, "predict", place, tmp_path / "turned.csv")
    _, straight = call(capsys, "predict", place, folder / "blendshapes" / "test.csv")
    assert [line["logits"] for line in turned] == [line["logits"] for line in straight]


def test_predict_needs_no_label_and_names_the_missing_columns(run, folder, tmp_path, capsys):
    rows = faces.read(folder / "blendshapes" / "test.csv")[:2]
    shutil.copy(folder / "blendshapes" / "test.csv", tmp_path / "bare.csv")
    faces.edit(
        tmp_path / "bare.csv", lambda _: [{name: row[name] for name in names.SETS[33]} for row in rows]
    )
    code, lines = call(capsys, "predict", run / "checkpoints" / "best", tmp_path / "bare.csv")
    assert (code, len(lines), "truth" in lines[0]) == (0, 2, False)
    faces.edit(tmp_path / "bare.csv", lambda held: [{"jawOpen": row["jawOpen"]} for row in held])
    code, lines = call(capsys, "predict", run / "checkpoints" / "best", tmp_path / "bare.csv")
    assert (code, "lacks columns: browDownLeft" in lines[0]["error"]) == (1, True)


def test_evaluate_repeats_the_metrics_and_names_the_worst_rows(run, folder, capsys):
    data = f"blendshapes={folder / 'blendshapes'}"
    code, (answer,) = call(capsys, "evaluate", run / "checkpoints" / "best", "--data", data)
    metrics = runs.events(run, "metrics")[-1]
    assert (code, answer["same_data"]) == (0, True)
    assert answer["confusion"] == metrics["confusion"]
    (results,) = runs.events(run, "results")
    assert results["wrong"] == answer["wrong"][:100]
    assert len(answer["wrong"]) == sum(map(sum, answer["confusion"])) - sum(
        row[number] for number, row in enumerate(answer["confusion"])
    )
    for name in ("split", "step", "samples", "groups", "resampled", "per_class", "classes", "calibration"):
        assert results[name] == answer[name], name
    assert answer["values"]["accuracy_low"] == metrics["values"]["accuracy_low"]
    assert sum(one["count"] for one in answer["calibration"]) == answer["samples"]
    worst = answer["wrong"][0]
    _, lines = call(capsys, "predict", run / "checkpoints" / "best", folder / "blendshapes" / "test.csv")
    (line,) = [line for line in lines if line["file"].endswith(worst["sample"])]
    assert (line["truth"], line["label"]) == (worst["truth"], worst["answer"])
    assert line["probabilities"][worst["answer"]] == pytest.approx(worst["probability"], abs=1e-4)
    wrong = [one for one in lines if one["truth"] in answer["classes"] and one["label"] != one["truth"]]
    surest = max(max(one["probabilities"].values()) for one in wrong)
    assert worst["probability"] == pytest.approx(surest, abs=1e-4)


def test_rows_trained_on_do_not_count_as_test_without_groups_either(run, folder, tmp_path, capsys):
    def bare(rows: faces.Rows) -> faces.Rows:
        return [{name: row[name] for name in ("label", *names.ALL)} for row in rows]

    rows = bare(faces.read(folder / "blendshapes" / "train.csv"))
    (tmp_path / "blendshapes").mkdir()
    path = Path(shutil.copy(folder / "blendshapes" / "train.csv", tmp_path / "blendshapes" / "mine.csv"))
    place, data = run / "checkpoints" / "best", f"blendshapes={tmp_path / 'blendshapes'}"
    faces.edit(path, lambda _: rows)
    assert command.main(["evaluate", str(place), "--data", data]) == 65
    assert "which the checkpoint was trained on: take others" in capsys.readouterr().err
    faces.edit(path, lambda _: [*rows, *bare(faces.read(folder / "blendshapes" / "test.csv"))])
    code, (answer,) = call(capsys, "evaluate", place, "--data", data)
    assert (code, answer["same_data"]) == (0, False)
    assert answer["left_out"] > answer["samples"] > 0


def test_training_and_evaluate_report_the_logistic_regression_baseline(run, folder, capsys):
    log = (run / "log").read_text()
    assert "logistic regression, the baseline: val balanced accuracy" in log
    assert "; logistic regression has balanced accuracy" in log.splitlines()[-1]
    first = runs.events(run, "metrics")[0]
    assert first["split"] == "val baseline"
    data = f"blendshapes={folder / 'blendshapes'}"
    _, (answer,) = call(capsys, "evaluate", run / "checkpoints" / "best", "--data", data, "--split", "val")
    assert answer["baseline"]["values"]["macro_f1"] == first["values"]["macro_f1"]


def test_the_log_begins_with_a_summary_of_data_and_first_batch(run, folder):
    used = sum(len(faces.read(path)) for path in (folder / "blendshapes").glob("*.csv"))
    lines = (run / "log").read_text().splitlines()
    assert lines[0].startswith(f"data: {used} rows found, ")
    assert any(line.startswith("  happy: train ") for line in lines[1:4])
    (first,) = [line for line in lines if line.startswith("first batch, as the model gets it: mean 0.")]
    assert ", std " in first
    assert ", range " in first


def test_a_file_name_that_is_no_utf8_stops_no_training(folder, tmp_path):
    data = Path(shutil.copytree(folder / "blendshapes", tmp_path / "blendshapes"))
    (data / "val.csv").rename(data / os.fsdecode(b"val_caf\xe9.csv"))
    (data / "train.csv").rename(data / os.fsdecode(b"train_caf\xe9.csv"))
    run = tmp_path / "runs" / "short"
    assert faces.train(run, tmp_path, epochs=1) == 0, (run / "log").read_text()
    assert all("caf" in row for row in best(run).manifest["proof"]["rows"])


def test_a_model_that_does_not_beat_the_baseline_is_reported(folder, tmp_path):
    config, _ = options.parse(Config, {**faces.SMALL, "epochs": 1, "learning_rate": 1e-6})
    trainer = BlendshapesTrainer.open(config, {"": folder / "blendshapes"}, tmp_path, Silent())
    events = Events(tmp_path / "events.jsonl")
    outcome = TrainingLoop(trainer, tmp_path / "c", events, Group(torch.device("cpu")), talk=False).run()
    assert "; logistic regression has" in outcome.message
    assert [entry["rule"] for entry in runs.events(tmp_path, "health")] == ["plateau.baseline"]


@pytest.mark.parametrize("select", ["accuracy", "macro_f1", "balanced_accuracy"])
def test_a_constant_prediction_is_reported_whatever_metric_selects(select, folder, tmp_path, monkeypatch):
    constant = {"accuracy": 0.6, "balanced_accuracy": 1 / 3, "macro_f1": 0.4, "majority": 0.6}
    summary = Summary(constant, ["happy", "sad", "neutral"])
    monkeypatch.setattr(BlendshapesTrainer, "summarise", lambda *_: replace(summary, values=dict(constant)))
    config, _ = options.parse(Config, {**faces.SMALL, "epochs": 7, "select": select})
    trainer = BlendshapesTrainer.open(config, {"": folder / "blendshapes"}, tmp_path, Silent())
    events = Events(tmp_path / "events.jsonl")
    TrainingLoop(trainer, tmp_path / "c", events, Group(torch.device("cpu")), talk=False).run()
    first = runs.events(tmp_path, "health")[0]
    assert first["rule"] == "plateau.baseline"
    assert first["message"] == "balanced accuracy 0.333 after 6 epochs; one constant answer gets 0.333"


def test_the_baseline_is_the_minimum_of_its_loss(folder):
    trainer = BlendshapesTrainer.open(Config(), {"": folder / "blendshapes"}, folder, Silent())
    values, labels = values_of(trainer.splits["train"], Config()), torch.tensor(trainer.training_labels())
    outputs = trainer.regression
    weights = torch.tensor(outputs.weights, requires_grad=True)
    bias = torch.tensor(outputs.bias, requires_grad=True)
    x = torch.from_numpy((values - outputs.mean) / outputs.std).double()
    loss = torch.nn.functional.cross_entropy(
        x @ weights + bias, labels, weight=trainer.class_weights.double()
    )
    (loss + 1e-4 * weights.square().sum()).backward()
    assert float(weights.grad.abs().max()) < 1e-4
    probabilities = outputs.probabilities(values[:5])
    assert np.allclose(probabilities, (x[:5] @ weights + bias).softmax(1).detach().numpy())
