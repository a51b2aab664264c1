"""Runs and a client's cache that the version before wrote (run.json and state.json v 1) are still read.

tests/fixtures/old-run was written by commit 55b617d; a run's files of any size were left out, ROOT stands
for the root folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.onhost import processes
from tests.rigs.patience import wait_until
from tests.support import REPOSITORY, Client

OLD = REPOSITORY / "tests" / "fixtures" / "old-run"
DONE, STOPPED = "done-20261125T235946-2eaa", "stopped-20261125T235948-6d7e"
LIVE, TRAINER = "going-20261125T235950-d062", "blendshapes-20261125T235959-92f2"
# Behaves like the supervisor of that version: forwards SIGTERM, and ends after the trainer.
SUPERVISOR = """
import os, signal, subprocess, sys
trainer = subprocess.Popen(['sleep', '600'], env=dict(os.environ, GPUJOB_MARK=sys.argv[1]))
signal.signal(signal.SIGTERM, lambda *_: trainer.terminate())
print(trainer.pid, flush=True)
trainer.wait()
"""


@pytest.fixture
def old(client: Client) -> Client:
    """A client whose root folder and cache were written by the previous version."""
    shutil.copytree(OLD / "runs", client.root / "runs")
    shutil.copytree(OLD / "code", client.root / "code")
    shutil.copytree(OLD / "state", client.state_dir, dirs_exist_ok=True)
    for file in (*client.root.glob("runs/*/run.json"), *client.state_dir.glob("runs/*.json")):
        text = file.read_text().replace("ROOT", str(client.root))
        file.write_text(text.replace("/usr/bin:/bin", os.environ["PATH"]))
    return client


@contextlib.contextmanager
def supervised(client: Client) -> Iterator[None]:
    """Start processes that state.json of the run LIVE names as its supervisor and trainer."""
    folder = client.folder(LIVE)
    mark = json.loads((folder / "run.json").read_text())["mark"]
    words = [sys.executable, "-c", SUPERVISOR, mark]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout
        trainer = int(supervisor.stdout.readline())
        state = json.loads((folder / "state.json").read_text())
        state |= {"boot": processes.boot(), "supervisor": processes.identity(supervisor.pid)}
        state["child"] = processes.identity(trainer)
        (folder / "state.json").write_text(json.dumps(state))
        try:
            yield
        finally:
            supervisor.kill()
            processes.kill_marked(mark)


def states(client: Client, *words: str) -> dict[str, str]:
    result = client.run("status", *words, "--json")
    assert result.code == 0, result.err
    return {run["id"]: run["state"] for run in result.json["runs"]}


def test_old_runs_are_listed_with_their_state(old: Client) -> None:
    ended = {DONE: "succeeded", STOPPED: "stopped", TRAINER: "succeeded"}
    assert {run: states(old, run)[run] for run in ended} == ended
    assert states(old, LIVE)[LIVE] == "lost"


def test_the_cache_of_an_old_client_is_read(old: Client) -> None:
    cached = states(old, "--cached")
    assert (cached[DONE], cached[STOPPED]) == ("succeeded", "stopped")


def test_metrics_and_health_of_an_old_run_are_read(old: Client) -> None:
    run: dict[str, Any] = old.state(DONE)
    assert run["metrics"] == {"val": {"accuracy": 0.5, "loss": 0.4}}
    assert "the loss has not fallen for 3 epochs" in json.dumps(run["health"])
    assert old.state(TRAINER)["metrics"]


def test_the_log_of_an_old_run_is_printed(old: Client) -> None:
    assert old.run("monitor", DONE, "--stream").out == "line 1\nline 2\n"


@pytest.mark.parametrize(("run", "step"), [(DONE, 10), (STOPPED, 7)])
def test_an_old_run_is_fetched(old: Client, run: str, step: int) -> None:
    result = old.run("fetch", run)
    assert result.code == 0, result.err
    folder = old.project / "fetched" / run
    weights = folder / "checkpoints" / str(step) / "weights.txt"
    assert weights.read_text() == f"weights of step {step}\n"
    assert (folder / "outputs" / "results" / "answer.txt").read_text() == "42\n"


def test_a_run_of_an_old_supervisor_is_stopped_and_cleaned(old: Client) -> None:
    with supervised(old):
        assert states(old, LIVE)[LIVE] == "running"
        result = old.run("stop", LIVE, "--clean", "--yes")
        assert result.code == 0, result.err
    assert old.state(LIVE)["state"] == "stopped"
    names = {path.name for path in old.folder(LIVE).iterdir()}
    assert not names & {"work", "ballast", "reserved-space"}


def test_an_old_run_is_resumed_by_a_new_supervisor(old: Client) -> None:
    shutil.rmtree(old.folder(STOPPED) / "work")  # as after stop --clean
    for file in OLD.glob("code/*/*"):
        shutil.copy(file, old.project)
    result = old.run("deploy", "stopped", "--resume", STOPPED, "--yes")
    assert result.code == 0, result.err
    log: Path = old.folder(STOPPED) / "log"
    wait_until(lambda: log.read_text() == "line 1\n" * 2, "the second attempt prints")
    assert old.state(STOPPED)["attempt"] == 2
    assert old.run("stop", STOPPED, "--now", "--yes").code == 0
