"""The facenet-lstm job by the command line: from sample data to a prediction."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.torchpython import environment as torchpython
from tests.support import Client, new_client

pytestmark = pytest.mark.torch

SIZE = "60"
SMALL = ["config.epochs=2", "config.warmup_epochs=1", "config.hidden=[16]", "config.dense=[16]"]
SETS = [word for pair in SMALL for word in ("--set", pair)]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with new_client(torchpython.shared().python) as client:
        made = client.run("prepare", "facenet-lstm", "--sample", "sample", "--size", SIZE)
        assert made.code == 0, made.err
        yield client.project / "sample"


def test_from_sample_data_to_a_prediction(client: Client, sample: Path) -> None:
    shutil.copytree(sample, client.project / "sample")
    result = client.run("deploy", "facenet-lstm", "--data", "sample", *SETS, "--follow")
    assert result.code == 0, result.err + result.out
    run = client.state()
    assert run["state"] == "succeeded"
    assert 0 < run["metrics"]["val"]["accuracy"] <= 1

    assert client.run("fetch").code == 0
    home = f"fetched/{run['id']}"
    assert client.run("verify", home).code == 0
    checkpoint = client.project / home / "checkpoints" / str(run["checkpoints"]["best"])
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    spec = json.loads((client.project / home / "run.json").read_text())
    assert manifest["code_tree"] == spec["trainers"]["tree"]

    good = next((client.project / "sample" / "crema").glob("*_HAP_*.npz"))
    prediction = client.run("predict", home, str(good), "--json").json
    assert set(prediction["probabilities"]) == {"angry", "disgust", "fearful", "happy", "neutral", "sad"}
    assert prediction["truth"] == "happy"
    scored = client.run(
        "evaluate", home, "--data", "ravdess=sample/ravdess", "--data", "crema=sample/crema", "--json"
    )
    assert scored.code == 0, scored.err
    assert scored.json["values"]["accuracy"] == pytest.approx(run["metrics"]["test"]["accuracy"], abs=1e-6)

    weights = checkpoint / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    damaged = client.run("predict", home, str(good))
    assert (damaged.code, "model.safetensors does not match its sha256" in damaged.err) == (1, True)


def test_user_files_shadow_no_module_and_paths_are_relative_to_the_client(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.shadow()
    monkeypatch.chdir(client.project)
    made = client.run("prepare", "facenet-lstm", "--sample", "some/sample", "--size", SIZE)
    assert made.code == 0, made.err
    checked = client.run("check", "facenet-lstm", "--data", "some/sample", *SETS)
    assert checked.code == 0, checked.err


def test_a_stopped_training_left_a_checkpoint_and_resumes_from_it(client: Client, sample: Path) -> None:
    shutil.copytree(sample, client.project / "sample")
    more = ["--set", "config.epochs=60"]
    assert client.run("deploy", "facenet-lstm", "--data", "sample", *SETS, *more).code == 0
    client.until(lambda status: (status["step"] or 0) > 3)
    assert client.run("stop").code == 0
    status = client.state()
    step = status["checkpoints"]["last"]
    assert (status["state"], status["exit_code"]) == ("stopped", 75)
    assert step >= 3
    resumed = client.run("deploy", "facenet-lstm", "--resume", status["id"])
    assert f"goes on from step {step}" in resumed.err
    status = client.until(lambda status: (status["step"] or 0) > step)
    assert (status["state"], status["attempt"]) == ("running", 2)
    os.kill(status["trainer_pid"], signal.SIGKILL)
    # `restart: {max: 1}` in the job file: the supervisor restarts a crashed run
    assert client.until(lambda now: now["attempt"] == 3)["state"] == "running"
    assert client.run("stop", "--now").code == 0


def test_data_without_a_usable_file_ends_before_a_session_and_names_five(client: Client) -> None:
    for name in ("ravdess", "crema"):
        (client.project / "sample" / name).mkdir(parents=True)
        for n in range(7):
            (client.project / "sample" / name / f"junk{n}.npz").write_bytes(b"no zip")
    result = client.run("deploy", "facenet-lstm", "--data", "sample", *SETS)
    assert result.code == 1
    assert result.err.count("junk") >= 5
    assert "no usable sample" in result.err
    assert not (client.root / "runs").exists()
    assert client.run("status", "--json").json["runs"] == []


def test_a_missing_data_folder_is_three_lines_and_exit_2(client: Client) -> None:
    result = client.run("deploy", "facenet-lstm")
    assert result.code == 2
    assert [line.split(":")[0].strip() for line in result.err.strip().splitlines()[-3:]] == [
        "error",
        "why",
        "next",
    ]
