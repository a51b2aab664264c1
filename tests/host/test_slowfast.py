"""The SlowFast job by the command line: from sample videos to a prediction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.machines import log_in_to, plant_python
from tests.rigs.fakehost import FakeHost
from tests.rigs.torchpython import environment as torchpython
from tests.support import Client, new_client

pytestmark = pytest.mark.torch

SMALL = {
    "frames": 8,
    "size": 32,
    "cache_size": 36,
    "depths": [1, 1],
    "width": 4,
    "beta": 2,
    "batch_size": 12,
    "test_clips": 3,
    "epochs": 2,
    "learning_rate": 0.004,
    "num_workers": 0,
}
SETS = [word for key, value in SMALL.items() for word in ("--set", f"config.{key}={json.dumps(value)}")]
VIDEOS = ("--size", "120")


@pytest.fixture(scope="module")
def sample() -> Iterator[Path]:
    with new_client(torchpython.shared().python) as client:
        made = client.run("prepare", "slowfast", "--sample", "sample", *VIDEOS)
        assert made.code == 0, made.err
        yield client.project / "sample"


def fetched(client: Client, sample: Path, *on: str) -> tuple[dict, str]:
    """Deploy, follow and fetch a training; return its status and the fetched folder."""
    (client.project / "sample").symlink_to(sample)
    result = client.run("deploy", "slowfast", "--data", "sample", *SETS, *on, "--follow")
    assert result.code == 0, result.err + result.out
    status = client.run("status", "--json", *on)
    run = status.json["runs"][-1]
    assert run["state"] == "succeeded"
    got = client.run("fetch", *on)
    assert got.code == 0, got.err
    return run, f"fetched/{run['id']}"


def test_over_ssh_frames_are_decoded_on_the_host_and_checkpoints_fetched(
    client: Client, machine: FakeHost, sample: Path
) -> None:
    log_in_to(client, machine)
    plant_python(client, machine)
    run, home = fetched(client, sample, "--on", "gpu")
    assert list((machine.home / ".gpujob" / "cache" / "slowfast").rglob("records.bin"))
    assert client.run("verify", home).code == 0
    data = json.loads((client.project / home / "run.json").read_text())["data"]
    assert data["crema"]["path"].startswith(str(machine.home / ".gpujob" / "data" / "crema"))
    assert 0 < run["metrics"]["val"]["accuracy"] <= 1
    assert run["metrics"]["test"]["accuracy_low"] <= run["metrics"]["test"]["accuracy"]
    good = next((sample / "crema").glob("*_HAP_*.flv"))
    prediction = client.run("predict", home, str(good), "--json").json
    assert (prediction["truth"], len(prediction["probabilities"])) == ("happy", 6)


def test_prepare_shows_the_classes_and_actors_of_every_split(client: Client, sample: Path) -> None:
    where = ("--ravdess", str(sample / "ravdess"), "--crema", str(sample / "crema"))
    made = client.run("prepare", "slowfast", *where, "--to", str(client.project / "splits"))
    assert made.code == 0, made.err
    assert "majority baseline" in made.out
    assert "left out by the option calm: drop" in made.out
    assert (client.project / "splits" / "manifest.csv").exists()


def test_without_data_it_names_the_folders_and_ends_with_2(client: Client) -> None:
    result = client.run("deploy", "slowfast")
    assert result.code == 2
    assert "ravdess (" in result.err
    assert "datasets/crema_d_videos" in result.err
    assert "gpujob prepare slowfast --sample sample" in result.err
