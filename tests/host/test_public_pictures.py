"""CK+ and FER2013 from pictures in their real folders to answers; pictures and faces are made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rigs import public_pictures
from tests.support import Client, Result
from trainers import __main__ as trainers
from trainers.blendshapes import prepare

pytestmark = pytest.mark.torch

CLASSES = ("happy", "sad", "surprise")
CONFIG = {
    "classes": json.dumps(CLASSES),
    "batch_size": "8",
    "hidden": "[16]",
    "epochs": "12",
    "warmup_epochs": "1",
    "learning_rate": "0.01",
}
SETS = [word for name, value in CONFIG.items() for word in ("--set", f"config.{name}={value}")]


def succeed(result: Result) -> Result:
    assert result.code == 0, result.err + result.out
    return result


@pytest.mark.parametrize(
    "write", [public_pictures.write_ck, public_pictures.write_fer], ids=["CK+", "FER2013"]
)
def test_pictures_are_prepared_checked_deployed_evaluated_and_answered(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    write: Callable[[Path], None],
) -> None:
    write(client.project / "pictures")
    (client.project / "face_landmarker.task").touch()
    monkeypatch.setattr(prepare, "Landmarker", public_pictures.Landmarker)
    words = ["--images", "pictures", "--model", "face_landmarker.task", "--to", "data"]
    assert trainers.main(["-C", str(client.project), "prepare", "blendshapes", *words]) == 0
    prepared = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert prepared["folders_of_no_emotion"] == {}
    assert prepared["faces"] == len(list((client.project / "pictures").rglob("*_*.*g")))

    succeed(client.run("check", "blendshapes", "--data", "data", *SETS))
    succeed(client.run("deploy", "blendshapes", "--on", "local", "--data", "data", *SETS, "--follow"))
    run = client.state()
    assert run["state"] == "succeeded"
    succeed(client.run("fetch"))
    home = f"fetched/{run['id']}"
    scored = succeed(client.run("evaluate", home, "--data", "data", "--json")).json
    assert scored["values"]["accuracy"] > 0.8
    assert scored["values"]["accuracy"] == pytest.approx(run["metrics"]["test"]["accuracy"], abs=1e-6)
    table = next((client.project / "data" / "blendshapes").glob("*s*.csv"))
    answers = succeed(client.run("predict", home, str(table), "--json")).out.splitlines()
    assert {json.loads(answer)["truth"] for answer in answers} >= set(CLASSES)
