"""The commands of blendshapes over SSH, and sources of `prepare` that are wrong."""

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


def test_the_same_job_file_over_ssh(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    plant_python(client, machine)
    succeed(client.run("prepare", "blendshapes", "--sample", "faces", "--size", "600"))
    succeed(client.run("deploy", "blendshapes", "--data", "faces", *SETS, "--on", "gpu", "--follow"))
    checked = client.run("check", "blendshapes", "--data", "faces", *SETS, "--on", "gpu", "--json")
    assert (checked.code, checked.json["cached"]) == (0, True)
    fetched = succeed(client.run("fetch", "--on", "gpu", "--json")).json
    assert fetched
    (home,) = (client.project / "fetched").glob("*-*")
    assert "blendshapes step" in succeed(client.run("verify", str(home))).out
    # A second run starts from the first one's best weights, which are sent as data.
    words = ("deploy", "blendshapes", "--data", "faces", "--init-from", home.name, "--name", "second")
    second = succeed(client.run(*words, *SETS, "--on", "gpu", "--follow"))
    assert "starts with the weights of" in second.out
    succeed(client.run("fetch", "second", "--on", "gpu"))
    (child,) = (client.project / "fetched").glob("second-*")
    spec = json.loads((child / "run.json").read_text())
    assert f"{home.name}/checkpoints/" in spec["data"]["init_from"]["source"]
    assert spec["data"]["init_from"]["path"].startswith(str(machine.home / ".gpujob" / "data" / "init_from"))
    best = child / "checkpoints" / (child / "checkpoints" / "best").read_text().strip()
    assert json.loads((best / "manifest.json").read_text())["init_from"]["trainer"] == "blendshapes"


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
