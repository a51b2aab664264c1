"""The quick start: made-up faces to an exported program, here and over ssh, by the command line alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.machines import log_in_to
from tests.rigs import needs
from tests.rigs.fakehost import FakeHost
from tests.support import Box, Result

SMALL = ("config.epochs=4", "config.warmup_epochs=1", "config.hidden=[8]", "config.learning_rate=0.03")
SETS = [word for pair in SMALL for word in ("--set", pair)]
VISIBLE = (Path(sys.prefix), Path(sys.base_prefix))


@pytest.fixture
def machine(box: Box) -> Iterator[FakeHost]:
    needs.require("sshd", "rsync")
    with FakeHost(box.home / "machine", visible=(box.home, *VISIBLE)) as found:
        yield found


def done(result: Result) -> Result:
    assert result.code == 0, result.err + result.out
    return result


def test_from_made_up_faces_to_an_exported_program(box: Box) -> None:
    done(box.run("prepare", "blendshapes", "--sample", "faces", "--size", "600"))
    deployed = done(box.run("deploy", "blendshapes", "--data", "faces", *SETS, "--follow"))
    assert "logistic regression, the baseline: val balanced accuracy" in deployed.out
    run = box.state()
    assert run["metrics"]["test"]["macro_f1"] > 0.3
    done(box.run("fetch"))
    home = f"fetched/{run['id']}"
    said = done(box.run("predict", home, "faces/blendshapes/test.csv", "--json")).out.splitlines()
    assert set(json.loads(said[0])["probabilities"]) == {"happy", "sad", "neutral"}
    table = done(box.run("evaluate", home, "--data", "faces")).out
    assert "logistic regression" in table
    assert "most surely wrong" in table
    done(box.run("export", home))
    written = box.project / "exported" / f"blendshapes-{run['checkpoints']['best']}"
    told = json.loads((written / "preprocessing.json").read_text())
    spec = json.loads((box.project / home / "run.json").read_text())
    assert told["code_tree"] == spec["trainers"]["tree"]
    assert told["classes"] == ["happy", "sad", "neutral"]


def test_the_same_job_file_over_ssh(box: Box, machine: FakeHost) -> None:
    log_in_to(box, machine)
    machine.plant("python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    done(box.run("prepare", "blendshapes", "--sample", "faces", "--size", "600"))
    done(box.run("deploy", "blendshapes", "--data", "faces", *SETS, "--on", "gpu", "--follow"))
    fetched = done(box.run("fetch", "--on", "gpu", "--json")).json
    assert fetched
    (home,) = (box.project / "fetched").iterdir()
    assert "blendshapes step" in done(box.run("verify", str(home))).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("prepare", "blendshapes", "--imges", "."), "did you mean --images?"),
        (("prepare", "blendshapes"), "--images PATH"),
        (("prepare", "--images", ".", "blendshapes"), "the trainer comes before --images"),
        (("prepare", "blendshapes", "--images", "nowhere"), "there is no nowhere"),
    ],
)
def test_a_wrong_word_to_prepare_is_exit_2_and_says_what_there_is(
    box: Box, words: tuple[str, ...], said: str
) -> None:
    result = box.run(*words)
    assert (result.code, said in result.err) == (2, True), result.err
