"""Sweeps of real runs: each trial is a run, whatever kills the command."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.rigs.patience import PATIENCE
from tests.support import Client

pytestmark = pytest.mark.tmux
TRAIN = """
import json, os, time
c = json.loads(os.environ["GPUJOB_CONFIG"])
for step in range(1, 4):
    values = {"loss": (c["x"] - 0.3) ** 2}
    line = {"v": 1, "t": time.time(), "event": "metrics", "split": "val", "values": values}
    with open(os.environ["GPUJOB_EVENTS"], "a") as events:
        events.write(json.dumps(line) + "\\n")
"""
SWEEP = ("sweep", "job", "--space", "config.x=0..1", "--trials")


@pytest.fixture
def user(client: Client) -> Client:
    client.job(TRAIN, config={"x": 0.9})
    return client


def runs_of_trials(client: Client) -> Counter[str]:
    """Count the runs of each trial."""
    records = (client.root / "runs").glob("*/run.json")
    return Counter(json.loads(record.read_text())["job"] for record in records)


def test_a_sweep_tries_the_job_as_it_is_first_and_finds_better(user: Client) -> None:
    result = user.run(*SWEEP, "5", "--json")
    assert result.code == 0, result.err
    trials = result.json["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * 5
    assert trials[0]["params"] == {"config.x": 0.9}
    assert trials[0]["value"] == pytest.approx(0.36)
    best = trials[result.json["best"]]
    assert best["value"] == min(trial["value"] for trial in trials) < 0.36
    assert result.json["importance"] == {"config.x": 1.0}
    assert user.run("fetch", best["run"], "--which", "all").code == 0
    assert runs_of_trials(user) == {f"job-sweep-t{number}": 1 for number in range(5)}
    again = user.run(*SWEEP, "5")
    assert again.code == 0
    assert "best: trial" in again.err
    assert sum(runs_of_trials(user).values()) == 5


def test_a_killed_sweep_continues_with_one_run_for_each_trial(user: Client) -> None:
    for number in range(2):
        killed = user.spawn(*SWEEP, "4", "--parallel", "2")
        end = time.monotonic() + PATIENCE
        while len(runs_of_trials(user)) <= number:
            assert time.monotonic() < end
            time.sleep(0.02)
        killed.kill()
        killed.communicate()
    result = user.run(*SWEEP, "4", "--json")
    assert result.code == 0, result.err
    assert [trial["state"] for trial in result.json["trials"]] == ["complete"] * 4
    assert runs_of_trials(user) == {f"job-sweep-t{number}": 1 for number in range(4)}
    assert len({trial["run"] for trial in result.json["trials"]}) == 4


def test_a_trial_whose_run_fails_is_counted_and_named(user: Client) -> None:
    user.job("raise SystemExit(3)", config={"x": 1})
    result = user.run(*SWEEP, "2")
    assert result.code == 1
    assert "trial 1: failed: gpujob status job-sweep-t1-" in result.err
    assert "2 failed" in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--metric", "loss"), "a split and a name"),
        (("--metric", "val."), "a split and a name"),
        (("--seed", "-1"), "--seed"),
        (("--on", ""), "--on is empty"),
        (("--on", "local,"), "each host is named once"),
        (("--on", "local,local"), "each host is named once"),
        (("--goal", "less"), "min or max"),
        (("--name", "../x"), "cannot name a sweep"),
        (("--on", "ec2"), "each trial would launch"),
        (("--max-hours", "-1"), "above 0"),
        (("--space", "data.x=1..2"), "config"),
        (("--space", "name=a,b"), "changes nothing"),
    ],
)
def test_a_wrong_sweep_is_refused_before_anything_starts(
    user: Client, words: tuple[str, ...], message: str
) -> None:
    result = user.run(*SWEEP, "2", *words)
    assert result.code == 2, result.err
    assert message in result.err
    assert not Path(user.root / "runs").exists()


def test_an_interrupted_sweep_answers_in_json(user: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.commands.sweep._Sweep.run", interrupted)
    result = user.run(*SWEEP, "1", "--json")
    assert (result.code, result.json["error"]["kind"]) == (130, "Interrupted")


def test_a_sweep_with_another_space_is_refused(user: Client) -> None:
    assert user.run(*SWEEP, "1").code == 0
    result = user.run("sweep", "job", "--space", "config.x=0..2", "--trials", "2")
    assert (result.code, "started with another space" in result.err) == (2, True)


def test_a_key_that_no_job_has_is_refused_and_leaves_no_sweep(user: Client) -> None:
    wrong = user.run("sweep", "job", "--space", "x=0..1", "--trials", "1")
    assert wrong.code == 2
    assert "space of x: a job has no key 'x'" in wrong.err
    assert "next: gpujob sweep job --space config.x=LOW..HIGH" in wrong.err
    assert user.run(*SWEEP, "1").code == 0


def test_a_sweep_whose_job_is_refused_may_start_with_other_terms(user: Client) -> None:
    wrong = user.run("sweep", "job", "--space", "resources.gpus=many,few", "--trials", "1")
    assert wrong.code == 2, wrong.err
    assert user.run(*SWEEP, "1").code == 0


def test_a_metric_that_no_run_reports_ends_the_sweep_at_its_first_trial(user: Client) -> None:
    result = user.run(*SWEEP, "3", "--metric", "val.error")
    assert result.code == 1
    assert "trial 0 succeeded and reported no value of val.error" in result.err
    assert "it reported: val.loss" in result.err
    assert sum(runs_of_trials(user).values()) == 1
    assert user.run(*SWEEP, "1", "--metric", "val.loss", "--name", "another").code == 0
