"""The sign language jobs by the command line: from sample data to glosses, locally and over a real sshd."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.host.machines import log_in_to, new_machine, plant_python
from tests.rigs.fakehost import FakeHost
from tests.rigs.torchpython import environment as torchpython
from tests.support import Client, new_client

pytestmark = pytest.mark.torch

SMALL = {
    "preset": "tiny",
    "epochs": "1",
    "warmup_epochs": "0",
    "batch_size": "8",
    "num_workers": "0",
    "learning_rate": "0.003",
}
FULL = os.environ.get("GPUJOB_TEST_FULL")

READS = {"preset": "small", "epochs": "20", "warmup_epochs": "1", "learning_rate": "2.0e-3"}
RECIPES = {
    "i3d-teacher": {**READS, "batch_size": "8", "epochs": "30", "dropout": "0.1"},
    "mobilenet-v3": {**READS, "dropout": "0.05", "flat_start": "6"},
    "student-distilled": {**READS, "epochs": "24", "dropout": "0.05", "distill": "0.2", "flat_start": "6"},
}
"""What docs/sign-language.md says of the whole sample."""


def sets(values: dict[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in ("--set", f"config.{name}={value}")]


SETS = sets(SMALL)


@pytest.fixture(scope="module")
def sample() -> Iterator[Path]:
    """A folder with 24 sentences, and a teacher trained on them for a few steps."""
    with new_client(torchpython.shared().python) as client:
        made = client.run("prepare", "mobilenet-v3", "--sample", "sample", "--size", "24")
        assert made.code == 0, made.err
        yield client.project / "sample"


@pytest.mark.parametrize("job", ["i3d-teacher", *(["student-distilled"] if FULL else [])])
def test_from_sample_data_to_glosses(client: Client, sample: Path, job: str) -> None:
    (client.project / "sample").symlink_to(sample)
    result = client.run("deploy", job, "--data", "sample", *SETS, "--follow")
    assert result.code == 0, result.err + result.out
    assert "test WER" in result.out
    run = client.state()
    assert run["state"] == "succeeded"
    assert run["metrics"]["val"]["wer"] >= 0
    assert run["metrics"]["test"]["words"] > 0
    assert "wer " in client.run("status").out
    assert "val wer " in client.run("monitor").out
    assert client.run("fetch").code == 0
    home = f"fetched/{run['id']}"
    spec = json.loads((client.project / home / "run.json").read_text())
    assert ("teacher" in spec["data"]) == (job == "student-distilled")
    assert "teacher" not in spec["config"]
    good = sorted((sample / "phoenix" / "features" / "test").glob("*.npz"))[0]
    assert isinstance(client.run("predict", home, str(good), "--json").json["glosses"], list)
    assert str(good) in client.run("predict", home, str(good)).out
    scored = client.run("evaluate", home, "--data", f"phoenix={sample / 'phoenix'}", "--json")
    assert scored.json["values"]["wer"] == pytest.approx(run["metrics"]["test"]["wer"])


@contextmanager
def behind_ssh(client: Client, sample: Path) -> Iterator[FakeHost]:
    """A client with the SSH host `gpu`, whose Python has PyTorch."""
    with new_machine(client, "machine", sample) as machine:
        log_in_to(client, machine)
        plant_python(client, machine)
        yield machine


@pytest.fixture(scope="module")
def full_sample() -> Iterator[Path]:
    """A sample of the default size, and a teacher that has learnt its signs."""
    with new_client(torchpython.shared().python) as client:
        made = client.run("prepare", "mobilenet-v3", "--sample", "sample")
        assert made.code == 0, made.err
        yield client.project / "sample"


@pytest.mark.skipif(not FULL, reason="in `make test-full`: minutes of training")
@pytest.mark.parametrize("job", RECIPES)
@pytest.mark.parametrize("place", ["local", pytest.param("ssh", marks=pytest.mark.sshd)])
def test_training_learns_the_complete_sample(client: Client, full_sample: Path, job: str, place: str) -> None:
    (client.project / "sample").symlink_to(full_sample)
    words = ("deploy", job, "--data", "sample", *sets(RECIPES[job]), "--follow")
    with behind_ssh(client, full_sample) if place == "ssh" else nullcontext():
        target = ("--on", "gpu") if place == "ssh" else ()
        result = client.run(*words, *target)
        assert result.code == 0, result.err + result.out
        assert "wer " in client.run("status", *target).out
        assert "val wer " in client.run("monitor", *target).out
        assert client.run("fetch", *target).code == 0
    (home,) = (client.project / "fetched").glob("*-*")
    test = full_sample / "phoenix"
    scored = client.run("evaluate", str(home), "--data", f"phoenix={test}", "--json").json["values"]
    assert scored["wer"] < 0.3
    good = sorted((test / "features" / "test").glob("*.npz"))[0]
    assert client.run("predict", str(home), str(good), "--json").json["glosses"]


@pytest.mark.skipif(not FULL, reason="in `make test-full`: blendshapes goes the same way")
@pytest.mark.sshd
def test_a_student_is_distilled_on_a_host_over_ssh(client: Client, sample: Path) -> None:
    with behind_ssh(client, sample) as machine:
        packed = client.run("prepare", "mobilenet-v3", "--phoenix", str(sample / "phoenix"), "--to", "packed")
        assert packed.code == 0, packed.err
        # The teacher is a fetched run: only its best checkpoint is sent.
        checkpoints = client.project / "old" / "checkpoints"
        checkpoints.mkdir(parents=True)
        shutil.copytree(sample / "teacher", checkpoints / "7")
        (checkpoints / "best").write_text("7\n")
        data = ["--data", "phoenix=packed/phoenix", "--set", "config.teacher=old"]
        result = client.run("deploy", "student-distilled", *data, *SETS, "--on", "gpu", "--follow")
        assert result.code == 0, result.err + result.out
        assert client.run("fetch", "--on", "gpu").code == 0
        (home,) = (client.project / "fetched").glob("*-*")
        spec = json.loads((home / "run.json").read_text())
        assert spec["data"]["teacher"]["path"].startswith(str(machine.home / ".gpujob" / "data" / "teacher"))
        assert spec["data"]["teacher"]["source"].endswith("old/checkpoints/7")
        good = sorted((sample / "phoenix" / "features" / "test").glob("*.npz"))[0]
        assert client.run("predict", str(home), str(good)).code == 0


def test_a_missing_teacher_is_reported_with_file_and_line(client: Client, sample: Path) -> None:
    client.write(
        "mine.yaml", "name: mine\ntrainer: mobilenet-v3\nconfig:\n  teacher: nowhere\ndata: {phoenix: p}\n"
    )
    result = client.run("deploy", "mine", "--data", f"phoenix={sample / 'phoenix'}")
    assert result.code == 2
    assert "mine.yaml:4: data.teacher: there is no" in result.err
    client.write("both.yaml", "name: b\ntrainer: mobilenet-v3\nconfig: {teacher: a}\ndata: {teacher: b}\n")
    assert "teacher is in config and in data" in client.run("deploy", "both").err
