"""`python -m trainers`, and the imports of its fast commands."""

import io
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import msgspec
import numpy as np
import pytest
import trainer_runs as runs

from trainers import __main__ as command
from trainers import registry
from trainers.engine import events
from trainers.engine.events import Silent
from trainers.facenet_lstm.config import Config
from trainers.facenet_lstm.trainer import FacenetTrainer

HEAVY = ("numpy", "torch", "safetensors", "orchestrator")


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[dict]]:
    code = command.main([str(word) for word in words])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(("words", "tier"), [(["list"], None), (["check"], "config"), (["check"], "files")])
def test_light_commands_need_the_standard_library_alone(words, tier, sample):
    data = {name: str(sample / name) for name in ("ravdess", "crema")}
    request = json.dumps({"config": {}, "data": data, "tier": tier})
    names = ["facenet-lstm"] if tier else []
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from trainers.__main__ import main; "
        f"code = main(sys.argv[1:]); print([m for m in {HEAVY} if m in sys.modules]); sys.exit(code)"
    )
    # -I and -S hide installed packages: importing one fails.
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(runs.ROOT), *words, *names],
        input=request,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"


def test_list_shows_every_trainer_with_its_data_and_options(capsys):
    code, entries = call(capsys, "list")
    assert code == 0
    assert [entry["name"] for entry in entries] == registry.names()
    (facenet,) = [entry for entry in entries if entry["name"] == "facenet-lstm"]
    assert set(facenet["data"]) == {"ravdess", "crema"}
    assert facenet["options"]["hidden"] == [256, 128]


@pytest.fixture(scope="module")
def trained(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of a short training."""
    run = tmp_path_factory.mktemp("root") / "runs" / "short"
    config = {"hidden": [16], "dense": [16], "epochs": 2, "num_workers": 0, "learning_rate": 0.003}
    assert runs.train(run, sample, config) == 0
    return run / "checkpoints"


def test_verify_shows_the_contents_of_a_checkpoint(trained, capsys):
    code, (verified,) = call(capsys, "verify", trained / "best")
    assert code == 0
    assert verified["trainer"] == "facenet-lstm"
    assert verified["parameters"] > 0


def test_evaluate_repeats_the_metrics_of_the_training(trained, sample, capsys):
    pairs = [f"{name}={sample / name}" for name in ("ravdess", "crema")]
    words = ["--data", pairs[0], "--data", pairs[1]]
    code, (answer,) = call(capsys, "evaluate", trained / "best", *words)
    metrics = runs.events(trained.parent, "metrics")[-1]
    assert code == 0
    assert answer["same_data"] is True
    assert answer["confusion"] == metrics["confusion"]
    assert answer["values"]["accuracy_low"] == metrics["values"]["accuracy_low"]


def evaluated(capsys, trained: Path, data: Path, *words: str) -> tuple[int, dict, str]:
    pairs = [f"--data={name}={data / name}" for name in ("ravdess", "crema")]
    code = command.main(["evaluate", str(trained / "best"), *pairs, *words])
    out, err = capsys.readouterr()
    return code, json.loads(out or "{}"), err


def test_actors_trained_on_do_not_count_as_test_where_the_data_are_others(trained, sample, tmp_path, capsys):
    verified = FacenetTrainer.load(Config(), {"both": sample}, tmp_path / "w", Silent())
    tested = {r.actor for r in verified.splits["test"] if r.actor.startswith("crema")}
    data = Path(shutil.copytree(sample, tmp_path / "data", copy_function=os.link))
    for record in verified.records:
        if record.actor in tested:
            (data / record.path.relative_to(sample)).unlink()
    code, answer, err = evaluated(capsys, trained, data)
    assert (code, answer["same_data"]) == (0, False)
    assert answer["left_out"] > 0
    assert "crema-" in answer["warning"]
    assert f"warning: {answer['warning']}\n" == err
    assert not any(name.startswith("crema") for name in (one["sample"] for one in answer["wrong"]))
    shutil.rmtree(data / "ravdess")
    (data / "ravdess").mkdir()
    code, _, err = evaluated(capsys, trained, data)
    assert code == 65
    assert "take others, or --split all" in err
    code, answer, _ = evaluated(capsys, trained, data, "--split", "all")
    assert (code, answer["trained_on"]) == (0, answer["samples"])


def test_predict_classifies_new_files_and_names_an_unreadable_one(trained, sample, capsys):
    good = next((sample / "crema").glob("1001_*_SAD_XX*"))
    broken = next((sample / "crema").glob("1020_IEO_HAP*"))
    code, (first, second) = call(capsys, "predict", trained / "last", good, broken)
    assert code == 1
    assert first["truth"] == "sad"
    assert sum(first["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
    assert first["label"] == max(first["probabilities"], key=first["probabilities"].get)
    assert second == {"file": str(broken), "error": second["error"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values * 300, "whose length is not 1: 300"),
        (
            lambda values: np.where(np.arange(len(values))[:, None] == 2, 0, values),
            "whose length is not 1: 0",
        ),
        (lambda values: values.astype(np.float64) * 1e300, "holds values that embeddings do not have"),
    ],
)
def test_predict_refuses_embeddings_that_training_refuses(trained, sample, tmp_path, capsys, change, message):
    good = next((sample / "crema").glob("1001_*_SAD_XX*"))
    with np.load(good) as arrays:
        np.savez(tmp_path / "a.npz", video_features=change(arrays["video_features"]))
    code, (answer,) = call(capsys, "predict", trained / "last", tmp_path / "a.npz")
    assert (code, message in answer["error"]) == (1, True)


def test_a_damaged_checkpoint_is_a_sentence(trained, tmp_path, capsys):
    (tmp_path / "manifest.json").write_text("{}")
    assert command.main(["verify", str(tmp_path)]) == 1
    assert "the checkpoint cannot be used" in capsys.readouterr().err


def test_prepare_without_sample_reads_the_data_in(sample, tmp_path, capsys):
    pairs = [f"--data={name}={sample / name}" for name in ("ravdess", "crema")]
    code, lines = call(capsys, "prepare", "facenet-lstm", "--work", tmp_path, *pairs)
    assert code == 0
    assert lines[-1]["data"]["used"] == 240
    assert list(tmp_path.glob("*/index.json"))


def test_relative_paths_start_at_the_given_folder(sample, trained, tmp_path, capsys):
    pairs = [f"--data={name}={name}" for name in ("ravdess", "crema")]
    code, _ = call(capsys, "-C", sample, "prepare", "facenet-lstm", "--work", tmp_path, *pairs)
    assert code == 0
    code, _ = call(capsys, "-C", tmp_path, "prepare", "facenet-lstm", "--sample", "made", "--size", 24)
    assert code == 0
    assert (tmp_path / "made" / "ravdess").is_dir()
    file = next((sample / "crema").glob("1001_*_SAD_XX*"))
    code, (answer,) = call(capsys, "-C", file.parent, "predict", trained / "last", file.name)
    assert (code, answer["file"]) == (0, str(file))
    code, (verified,) = call(capsys, "-C", trained, "verify", "best")
    assert (code, verified["trainer"]) == (0, "facenet-lstm")


@pytest.mark.parametrize("name", registry.names())
def test_every_command_refuses_unknown_data_and_lists_the_expected_names(name, tmp_path, monkeypatch, capsys):
    verified = types.SimpleNamespace(manifest={"trainer": name})
    monkeypatch.setattr(command, "_open", lambda _: (verified, registry.trainer(name)))
    arguments = ["--data", f"datta={tmp_path}"]
    for words in (["evaluate", "checkpoint", *arguments], ["prepare", name, *arguments]):
        assert command.main(words) == 2
        stderr = capsys.readouterr().err
        assert (stderr.count("\n"), "there is no data called `datta`" in stderr) == (1, True)
        assert next(iter(registry.describe(name).data)) in stderr
    request = {"config": {}, "data": {"datta": str(tmp_path)}, "tier": "full", "work": str(tmp_path)}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(request)))
    code, (*_, report) = call(capsys, "check", name)
    assert code != 0
    assert report["findings"][0]["message"] == "there is no data called `datta`"
    assert runs.train_here(name, tmp_path / "runs" / "one", {"datta": tmp_path}, {}) == 64
    assert "there is no data called `datta`" in (tmp_path / "runs" / "one" / "log").read_text()


def test_an_unknown_trainer_is_refused_with_the_known_names(capsys):
    assert command.main(["train", "facenet"]) == 2
    assert "facenet-lstm" in capsys.readouterr().err


def test_a_request_that_is_no_json_is_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("{"))
    assert command.main(["check", "facenet-lstm"]) == 2
    assert "the request on stdin cannot be read" in capsys.readouterr().err


FIXTURE = runs.ROOT / "tests" / "fixtures" / "events.jsonl"


def test_the_documented_events_are_those_that_a_training_writes(trained, sample, tmp_path):
    """A run that is resumed with other code writes every kind of event."""
    verified = [json.loads(line) for line in FIXTURE.read_text().splitlines()]
    run = trained.parent
    config = json.loads((trained / (trained / "last").read_text().strip() / "manifest.json").read_text())[
        "config"
    ]
    assert runs.train(run, sample, config, GPUJOB_CODE_TREE="other") == 0
    written = {
        kind: list(runs.events(run, kind)[-1])
        for kind in ("start", "progress", "metrics", "checkpoint", "health", "warning", "end")
    }
    assert {entry["event"]: list(entry) for entry in verified} == written


def test_a_file_name_that_is_not_utf8_is_escaped_in_valid_json(capsys):
    name = os.fsdecode(b"caf\xe9.mp4")
    text = events.line("warning", {"message": name, name: [{"file": name}]}, lambda: 1)
    metrics = msgspec.json.decode(text.encode())
    assert (metrics["message"], metrics[r"caf\udce9.mp4"]) == (r"caf\udce9.mp4", [{"file": r"caf\udce9.mp4"}])
    events.say(name)
    assert capsys.readouterr().out == "caf\\udce9.mp4\n"


def test_an_event_is_one_line_that_json_can_hold():
    text = events.line("metrics", {"values": {"loss": float("nan"), "a": [float("inf")]}}, lambda: 1)
    assert json.loads(text)["values"] == {"loss": None, "a": [None]}
    long = events.line("warning", {"message": "ü\n" * 60_000}, lambda: 1)
    assert len(long.encode()) < events.LINE_LIMIT
    assert "\n" not in long
    assert json.loads(long)["event"] == "warning"
