"""The quick start by the command line: from sample faces to an exported program, locally and over SSH."""

from __future__ import annotations

import json

import pytest

from tests.host.machines import log_in_to, plant_python
from tests.rigs.fakehost import FakeHost
from tests.support import Client, Result

pytestmark = pytest.mark.torch

SMALL = ("config.epochs=4", "config.warmup_epochs=1", "config.hidden=[8]", "config.learning_rate=0.03")
SETS = [word for pair in SMALL for word in ("--set", pair)]


def succeed(result: Result) -> Result:
    assert result.code == 0, result.err + result.out
    return result


@pytest.mark.fresh
def test_from_made_up_faces_to_an_exported_program(client: Client) -> None:
    succeed(client.run("prepare", "blendshapes", "--sample", "faces", "--size", "600"))
    deployed = succeed(client.run("deploy", "blendshapes", "--data", "faces", *SETS, "--follow"))
    assert "logistic regression, the baseline: val balanced accuracy" in deployed.out
    run = client.state()
    assert run["metrics"]["test"]["macro_f1"] > 0.3
    succeed(client.run("fetch"))
    home = f"fetched/{run['id']}"
    predictions = succeed(
        client.run("predict", home, "faces/blendshapes/test.csv", "--json")
    ).out.splitlines()
    assert set(json.loads(predictions[0])["probabilities"]) == {"happy", "sad", "neutral"}
    table = succeed(client.run("evaluate", home, "--data", "faces")).out
    assert "logistic regression" in table
    assert "most confidently wrong" in table
    succeed(client.run("export", home))
    written = client.project / "exported" / f"blendshapes-{run['checkpoints']['best']}"
    preprocessing = json.loads((written / "preprocessing.json").read_text())
    spec = json.loads((client.project / home / "run.json").read_text())
    assert preprocessing["code_tree"] == spec["trainers"]["tree"]
    assert preprocessing["classes"] == ["happy", "sad", "neutral"]


def test_the_same_job_file_over_ssh(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    plant_python(client, machine)
    succeed(client.run("prepare", "blendshapes", "--sample", "faces", "--size", "600"))
    succeed(client.run("deploy", "blendshapes", "--data", "faces", *SETS, "--on", "gpu", "--follow"))
    fetched = succeed(client.run("fetch", "--on", "gpu", "--json")).json
    assert fetched
    (home,) = (client.project / "fetched").glob("*-*")
    assert "blendshapes step" in succeed(client.run("verify", str(home))).out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("prepare", "blendshapes", "--imges", "."), "did you mean --images?"),
        (("prepare", "blendshapes"), "--images PATH"),
        (("prepare", "--images", ".", "blendshapes"), "the trainer comes before --images"),
        (("prepare", "blendshapes", "--images", "nowhere"), "there is no nowhere"),
    ],
)
def test_an_unknown_source_of_prepare_exits_2_and_lists_the_known_ones(
    client: Client, words: tuple[str, ...], message: str
) -> None:
    result = client.run(*words)
    assert (result.code, message in result.err) == (2, True), result.err
