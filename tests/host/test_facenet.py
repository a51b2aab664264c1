"""The main job with a trainer of ours, from sample data to a prediction, by the command line alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Box

SMALL = ["config.epochs=3", "config.warmup_epochs=1", "config.hidden=[16]", "config.dense=[16]"]
SETS = [word for pair in SMALL for word in ("--set", pair)]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    from tests.support import new_box  # noqa: PLC0415

    with new_box() as box:
        made = box.run("prepare", "facenet-lstm", "--sample", "sample")
        assert made.code == 0, made.err
        yield box.project / "sample"


def test_from_sample_data_to_a_prediction(box: Box, sample: Path) -> None:
    shutil.copytree(sample, box.project / "sample")
    result = box.run("deploy", "facenet-lstm", "--data", "sample", *SETS, "--follow")
    assert result.code == 0, result.err + result.out
    run = box.state()
    assert run["state"] == "succeeded"
    assert 0 < run["metrics"]["val"]["accuracy"] <= 1

    assert box.run("fetch").code == 0
    home = f"fetched/{run['id']}"
    assert box.run("verify", home).code == 0
    checkpoint = box.project / home / "checkpoints" / str(run["checkpoints"]["best"])
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    spec = json.loads((box.project / home / "run.json").read_text())
    assert manifest["code_tree"] == spec["trainers"]["tree"]

    good = next((box.project / "sample" / "crema").glob("*_HAP_*.npz"))
    said = box.run("predict", home, str(good), "--json").json
    assert set(said["probabilities"]) == {"angry", "disgust", "fearful", "happy", "neutral", "sad"}
    assert said["truth"] == "happy"
    scored = box.run(
        "evaluate", home, "--data", "ravdess=sample/ravdess", "--data", "crema=sample/crema", "--json"
    )
    assert scored.code == 0, scored.err
    assert scored.json["values"]["accuracy"] == pytest.approx(run["metrics"]["test"]["accuracy"], abs=1e-6)

    weights = checkpoint / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    damaged = box.run("predict", home, str(good))
    assert (damaged.code, "model.safetensors does not match its sha256" in damaged.err) == (1, True)


def test_files_of_the_users_stand_in_for_no_module_and_paths_begin_where_they_are_typed(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.shadow()
    monkeypatch.chdir(box.project)
    made = box.run("prepare", "facenet-lstm", "--sample", "some/sample", "--size", "240")
    assert made.code == 0, made.err
    checked = box.run("check", "facenet-lstm", "--data", "some/sample", *SETS)
    assert checked.code == 0, checked.err


def test_a_stopped_training_left_a_checkpoint_and_resumes_from_it(box: Box, sample: Path) -> None:
    shutil.copytree(sample, box.project / "sample")
    more = ["--set", "config.epochs=60"]
    assert box.run("deploy", "facenet-lstm", "--data", "sample", *SETS, *more).code == 0
    box.until(lambda seen: (seen["step"] or 0) > 3, 60)
    assert box.run("stop").code == 0
    seen = box.state()
    step = seen["checkpoints"]["last"]
    assert (seen["state"], seen["exit_code"]) == ("stopped", 75)
    assert step >= 3
    resumed = box.run("deploy", "facenet-lstm", "--resume", seen["id"])
    assert f"goes on from step {step}" in resumed.err
    seen = box.until(lambda seen: (seen["step"] or 0) > step, 60)
    assert (seen["state"], seen["attempt"]) == ("running", 2)
    os.kill(seen["trainer_pid"], signal.SIGKILL)
    # restart: {max: 1} of the recipe: a crash is carried on by the supervisor itself
    assert box.until(lambda now: now["attempt"] == 3, 60)["state"] == "running"
    assert box.run("stop", "--now").code == 0


def test_data_without_a_usable_file_ends_before_a_session_and_names_five(box: Box) -> None:
    for name in ("ravdess", "crema"):
        (box.project / "sample" / name).mkdir(parents=True)
        for n in range(7):
            (box.project / "sample" / name / f"junk{n}.npz").write_bytes(b"no zip")
    result = box.run("deploy", "facenet-lstm", "--data", "sample", *SETS)
    assert result.code == 1
    assert result.err.count("junk") >= 5
    assert "no usable sample" in result.err
    assert not (box.root / "runs").exists()
    assert box.run("status", "--json").json["runs"] == []


def test_a_missing_data_folder_is_three_lines_and_exit_2(box: Box) -> None:
    result = box.run("deploy", "facenet-lstm")
    assert result.code == 2
    assert [line.split(":")[0].strip() for line in result.err.strip().splitlines()[-3:]] == [
        "error",
        "why",
        "next",
    ]
