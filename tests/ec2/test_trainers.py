"""The built-in jobs on a new instance, by the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.ec2 import user
from tests.host.test_sign import SMALL as SIGNS
from tests.host.test_slowfast import SMALL as VIDEOS
from tests.rigs.ec2.fake import FakeEC2
from tests.rigs.torchpython import environment as torchpython
from tests.support import Client, Result

pytestmark = pytest.mark.torch


@pytest.fixture
def client(ec2: FakeEC2, realtime_client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    user.share_clients(monkeypatch, ec2)
    realtime_client.python = torchpython.shared().python
    return realtime_client


def succeed(result: Result) -> Result:
    assert result.code == 0, result.err + result.out
    return result


def only_in_full(trials: Any) -> None:
    if not trials(0, 1):
        pytest.skip("in `make test-full`: blendshapes goes the same way")


def sets(*pairs: str) -> list[str]:
    python = f"env.python={torchpython.shared().python}"
    return [word for pair in (*pairs, python) for word in ("--set", pair)]


def through(client: Client, ec2: FakeEC2, job: str, data: str, *pairs: str) -> str:
    """Deploy a job with sample data to a new instance and fetch it; return the relative folder."""
    ec2.set(visible=[*ec2.settings.visible, str(torchpython.shared().folder)])
    options = ["--on", "ec2", "--yes", "--max-hours", "1"]
    succeed(client.run("deploy", job, "--data", data, *sets(*pairs), *options, "--follow"))
    run = client.state()["id"]
    succeed(client.run("fetch", run))
    assert ec2.leftovers() == []
    return f"fetched/{run}"


def test_blendshapes(ec2: FakeEC2, client: Client) -> None:
    succeed(client.run("prepare", "blendshapes", "--sample", "faces", "--size", "600"))
    small = ("config.epochs=2", "config.warmup_epochs=1", "config.hidden=[8]")
    home = through(client, ec2, "blendshapes", "faces", *small)
    predictions = succeed(
        client.run("predict", home, "faces/blendshapes/test.csv", "--json")
    ).out.splitlines()
    assert set(json.loads(predictions[0])["probabilities"]) == {"happy", "sad", "neutral"}


def weights(client: Client, folder: str) -> bytes:
    """Return the weights of the last checkpoint of a fetched run."""
    checkpoints = client.project / folder / "checkpoints"
    return (checkpoints / (checkpoints / "last").read_text().strip() / "model.safetensors").read_bytes()


def test_a_spot_run_that_is_interrupted_three_times_ends_with_the_same_weights(
    ec2: FakeEC2, client: Client, trials: Any
) -> None:
    only_in_full(trials)
    succeed(client.run("prepare", "blendshapes", "--sample", "faces", "--size", "600"))
    small = ("epochs=60", "patience=0", "hidden=[512, 512]", "batch_size=4", "checkpoint_every=20")
    pairs = tuple(f"config.{one}" for one in (*small, "threads=1"))
    straight = weights(client, through(client, ec2, "blendshapes", "faces", *pairs))
    former = set(ec2.states())

    options = ["--on", "ec2", "--yes", "--max-hours", "1", *sets(*pairs, "resources.ec2.spot=true")]
    succeed(client.run("deploy", "blendshapes", "--data", "faces", *options))
    (instance,) = set(ec2.states()) - former
    run, step = client.state()["id"], 0
    last = f"cat /home/ubuntu/.gpujob/runs/{run}/checkpoints/last 2>/dev/null || echo 0"
    saved = lambda: int(ec2.run(instance, "sh", "-c", last)[1])  # noqa: E731
    for _ in range(3):
        ec2.until(lambda step=step: saved() > step)
        ec2.interrupt(instance, 0)
        ec2.until(lambda: ec2.states()[instance] == "stopped")
        ec2.offer_capacity(instance)
        ec2.until(lambda: ec2.machines()[instance]["on"])
        step = saved()
    client.until("succeeded")
    assert client.state(run)["attempt"] == 4
    succeed(client.run("fetch", run))
    assert weights(client, f"fetched/{run}") == straight


def test_slowfast(ec2: FakeEC2, client: Client, trials: Any) -> None:
    only_in_full(trials)
    succeed(client.run("prepare", "slowfast", "--sample", "videos", "--size", "120"))
    small = [f"config.{key}={json.dumps(value)}" for key, value in VIDEOS.items()]
    home = through(client, ec2, "slowfast", "videos", *small)
    video = next((client.project / "videos" / "ravdess").rglob("02-01-04-*.mp4"))
    assert succeed(client.run("predict", home, str(video), "--json")).json["truth"] == "sad"


def test_sign_language(ec2: FakeEC2, client: Client, trials: Any) -> None:
    only_in_full(trials)
    succeed(client.run("prepare", "i3d-teacher", "--sample", "signs", "--size", "24"))
    home = through(client, ec2, "i3d-teacher", "signs", *(f"config.{k}={v}" for k, v in SIGNS.items()))
    features = next((client.project / "signs" / "phoenix" / "features" / "test").glob("*.npz"))
    predictions = succeed(client.run("predict", home, str(features), "--json")).json
    assert isinstance(predictions["glosses"], list)
