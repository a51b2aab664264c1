"""Trainings that diverge, end early, or whose options, data or GPU cannot be used."""

import json
import os
import re
import shutil

import pytest
import torch
import trainer_runs as runs

from trainers import preflight
from trainers import run as engine_run
from trainers.engine import distributed
from trainers.engine.events import Silent
from trainers.engine.loop import TrainingLoop
from trainers.facenet_lstm.trainer import FacenetTrainer


def test_a_loss_that_is_not_finite_exits_66_and_keeps_the_last_checkpoint(run_folder, monkeypatch, capsys):
    right = FacenetTrainer.loss

    def poisoned(self, model, batch):
        output = right(self, model, batch)
        steps = [event for event in runs.events(run_folder, "progress") if event["phase"] == "train"]
        seventh = model.training and len(steps) == 6
        return output._replace(loss=output.loss * float("nan")) if seventh else output

    monkeypatch.setattr(FacenetTrainer, "loss", poisoned)
    assert engine_run.train("facenet-lstm") == 66
    (event,) = [e for e in runs.events(run_folder, "health") if e["severity"] == "error"]
    assert event["rule"] == "finite"
    assert "loss nan" in event["message"]
    assert event["message"].count("crema/") + event["message"].count("ravdess/") == 12
    assert (run_folder / "checkpoints" / "last").read_text() == "4\n"
    assert runs.events(run_folder, "end")[0]["status"] == "failed"
    assert "last good checkpoint is step 4" in capsys.readouterr().err


def test_a_validation_loss_that_is_not_finite_exits_66(run_folder, monkeypatch, capsys):
    right = FacenetTrainer.loss

    def poisoned(self, model, batch):
        output = right(self, model, batch)
        return output if model.training else output._replace(loss=output.loss * float("nan"))

    monkeypatch.setattr(FacenetTrainer, "loss", poisoned)
    assert engine_run.train("facenet-lstm") == 66
    (event,) = [e for e in runs.events(run_folder, "health") if e["severity"] == "error"]
    assert (event["rule"], event["message"]) == ("finite", "on val: loss nan")
    assert event["action"] == "stopped after epoch 1; the last good checkpoint is step 12"
    assert (run_folder / "checkpoints" / "last").read_text() == "12\n"
    assert not (run_folder / "checkpoints" / "best").exists()
    assert "diverged: on val: loss nan" in runs.events(run_folder, "end")[0]["message"]


def test_a_gradient_that_is_not_finite_ends_with_66(run_folder, monkeypatch, capsys):
    monkeypatch.setattr("trainers.engine.learner.nn.utils.clip_grad_norm_", lambda *_: torch.inf)
    assert engine_run.train("facenet-lstm") == 66
    assert "gradient norm inf" in runs.events(run_folder, "health")[-1]["message"]
    assert not (run_folder / "checkpoints").exists()


def test_a_gradient_far_above_the_running_median_is_reported(run_folder, monkeypatch, capsys):
    count = iter(range(10**6))
    monkeypatch.setattr(
        "trainers.engine.learner.nn.utils.clip_grad_norm_",
        lambda *_: 500.0 if next(count) == 12 else 1.0,
    )
    assert engine_run.train("facenet-lstm") == 0
    (event,) = [e for e in runs.events(run_folder, "health") if e["rule"] == "grad.norm"]
    assert event["severity"] == "warning"


def test_patience_ends_a_run_early(run_folder, monkeypatch, capsys):
    monkeypatch.setenv("GPUJOB_CONFIG", json.dumps(runs.recipe(epochs=30, patience=2)))
    right = TrainingLoop._judge
    monkeypatch.setattr(TrainingLoop, "_judge", lambda self, epoch, _: right(self, epoch, 1 / epoch))
    assert engine_run.train("facenet-lstm") == 0
    assert runs.events(run_folder, "end")[0]["step"] == 3 * 13
    assert "by the checkpoint of step 13" in runs.events(run_folder, "end")[0]["message"]


def test_data_that_cannot_be_used_ends_with_65_and_a_sentence(run_folder, monkeypatch, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("GPUJOB_DATA", json.dumps({"ravdess": str(tmp_path / "empty")}))
    assert engine_run.train("facenet-lstm") == 65
    message = capsys.readouterr().err
    assert "0 files were found" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("gpus", "processes", "device", "message"),
    [
        (0, "1", "cuda", "PyTorch .* (is built without CUDA|finds no GPU here); take device: auto"),
        (0, "1", "auto", ""),
        (0, "2", "auto", ""),
        (1, "2", "cpu", ""),
        (1, "1", "cuda", ""),
        (1, "2", "cuda", "finds 1 GPUs for 2 processes; start one process a GPU"),
        (1, "2", "auto", "finds 1 GPUs for 2 processes; start one process a GPU"),
    ],
)
def test_a_missing_gpu_is_explained_in_a_sentence(gpus, processes, device, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    output = "".join(f"{f.message}; {f.fix}" for f in distributed.missing(device))
    assert re.search(message, output) if message else not output


def test_a_missing_gpu_exits_64_with_an_event(run_folder, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("GPUJOB_CONFIG", json.dumps(runs.recipe(device="cuda")))
    assert engine_run.train("facenet-lstm") == 64
    (end,) = runs.events(run_folder, "end")
    assert (end["status"], end["code"]) == ("failed", 64)
    assert "`device` is cuda" in end["message"]
    assert capsys.readouterr().err.count("\n") == 1


def test_check_reports_a_missing_gpu(sample, request_of, cache, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    report, code = preflight.check("facenet-lstm", request_of(sample, work=cache, device="cuda"), Silent())
    (output,) = [f for f in report["findings"] if f["severity"] == "error"]
    assert (code, output["code"], output["key"]) == (64, "config.choice", "device")


def test_a_file_that_the_system_cannot_give_ends_with_65_and_its_name(run_folder, copy, monkeypatch, capsys):
    path = next((copy / "crema").glob("1001_*XX*"))
    path.unlink()
    path.symlink_to("/proc/self/mem")
    monkeypatch.setenv("GPUJOB_DATA", json.dumps({"crema": str(copy / "crema")}))
    assert engine_run.train("facenet-lstm") == 65
    assert f"the data cannot be used: {path} could not be read" in capsys.readouterr().err


def test_file_names_that_are_no_utf8_stop_no_training(run_folder, sample, monkeypatch, tmp_path, capsys):
    data = tmp_path / os.fsdecode(b"donn\xe9es")
    shutil.copytree(sample, data, copy_function=os.link)
    (data / "crema" / os.fsdecode(b"00-caf\xe9.npz")).touch()
    monkeypatch.setenv("GPUJOB_DATA", json.dumps({"crema": str(data / "crema")}))
    monkeypatch.setenv("GPUJOB_CONFIG", json.dumps(runs.recipe(epochs=1, max_refused=0.5)))
    assert engine_run.train("facenet-lstm") == 0
    assert r"caf\udce9" in runs.events(run_folder, "health")[0]["message"]


def test_an_unknown_option_ends_with_64(run_folder, monkeypatch, capsys):
    monkeypatch.setenv("GPUJOB_CONFIG", '{"lerning_rate": 1}')
    assert engine_run.train("facenet-lstm") == 64
    assert "did you mean `learning_rate`?" in capsys.readouterr().err


def test_a_run_without_its_environment_variables_names_the_missing_ones(monkeypatch, capsys):
    monkeypatch.delenv("GPUJOB_RUN_DIR", raising=False)
    assert engine_run.train("facenet-lstm") == 64
    assert "GPUJOB_RUN_DIR is not set" in capsys.readouterr().err
