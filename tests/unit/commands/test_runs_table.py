"""`runs`: the table of runs on all hosts, sorted, and what is done with a group of them."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.commands import fetch, stop
from orchestrator.context import Context
from orchestrator.core import runfacts
from orchestrator.core.history import is_lower_better
from orchestrator.errors import NotFound, Unreachable
from orchestrator.store import CachedRun, Store
from orchestrator.targets.base import Target
from tests.rigs import fetched
from tests.rigs.patience import PATIENCE
from tests.support import Client, ScriptedHost, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def runs_on_this_machine(client: Client) -> None:
    """Three runs whose last val.loss is 0.5, 0.1 and unknown."""
    for number, loss in ((1, 0.5), (2, 0.1), (3, None)):
        events = [fetched.progress(1, loss=1.0), *([fetched.metrics(1, loss=loss)] if loss else [])]
        fetched.write(client.root / "runs", number, events=events, created=fetched.NOW + number)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def ids(client: Client, *words: str) -> list[int]:
    shown = client.run("runs", "--json", *words)
    assert shown.code == 0, shown.out
    return [int(run["id"][-4:], 16) for run in shown.json["runs"]]


def test_runs_are_sorted_by_a_metric_with_the_best_first(client: Client) -> None:
    runs_on_this_machine(client)
    assert ids(client) == [1, 2, 3]
    assert ids(client, "--sort", "val.loss") == [2, 1, 3]
    assert ids(client, "--sort", "val.loss", "--reverse") == [1, 2, 3]
    assert ids(client, "--limit", "2") == [2, 3]
    assert ids(client, "--job", "other") == []
    unknown = client.run("runs", "--sort", "val.los")
    assert (unknown.code, "there are: train.loss, val.loss" in unknown.err) == (2, True)


class Hosts:
    """Hosts by name that answer at once, once all of them were asked; those named `gone…` never do."""

    def __init__(self, client: Client, monkeypatch: pytest.MonkeyPatch, *labels: str) -> None:
        self.client, self.asked = client, threading.Barrier(len(labels), timeout=PATIENCE)
        store = Store(client.state_dir)
        for number, label in enumerate(labels):
            facts = runfacts.parse_run(self.run(number, number % 2 == 0))
            assert facts
            store.save_target(label, 1.0)
            store.save_run(CachedRun(label, 1.0, facts))
        self.labels = labels
        monkeypatch.setattr("orchestrator.registry.target", lambda ctx, settings, label: self.target(label))
        client.env["GPUJOB_TARGET"] = labels[0]

    def run(self, number: int, ended: bool) -> dict[str, Any]:
        state = {"started": 1.0, **({"ended": 9.0, "exit_code": 0, "reason": "exit"} if ended else {})}
        run = {"job": "job", "created": 1.0 + number}
        return {"id": fetched.run_id(number), "run": run, "state": state, "supervised": not ended}

    def target(self, label: str) -> Target:
        hosts, number = self, self.labels.index(label)

        class ScriptedTarget(Target):
            @contextlib.contextmanager
            def connect(self) -> Iterator[ScriptedHost]:
                hosts.asked.wait()
                if label.startswith("gone"):
                    raise Unreachable("timed out")
                host = ScriptedHost({"status": {"runs": [hosts.run(number, True)]}, "record": {"record": {}}})
                host.label = label
                yield host

        return ScriptedTarget()


def test_all_hosts_are_asked_at_once_and_shown_in_order(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hosts(client, monkeypatch, "gpu3", "gpu1", "gone1", "gone2")
    shown = client.run("runs", "--json")
    assert shown.code == 0, shown.out + shown.err
    assert [(run["target"], run["state"]) for run in shown.json["runs"]] == [
        *(("gpu3", "succeeded"), ("gpu1", "succeeded"), ("gone1", "succeeded"), ("gone2", "unreachable"))
    ]
    assert "gone2 does not answer (timed out); its runs are as they were last seen" in shown.err


@pytest.mark.parametrize(("gone", "shown_as"), [("", "running"), ("b", "running"), ("a,b", "unreachable")])
def test_a_run_over_two_hosts_is_one_line_of_the_table(
    client: Client, monkeypatch: pytest.MonkeyPatch, gone: str, shown_as: str
) -> None:
    """Whichever of them answers; where none does, the cache has it under the names of both."""

    def run(rank: int) -> dict[str, Any]:
        record = {"job": "job", "created": 1.0, "group": {"rank": rank, "hosts": ["a", "b"]}}
        return {"id": fetched.run_id(1), "run": record, "state": {"started": 1.0}, "supervised": True}

    class OneOfTwo(Target):
        def __init__(self, label: str) -> None:
            self.name = label

        @contextlib.contextmanager
        def connect(self) -> Iterator[ScriptedHost]:
            if self.name in gone:
                raise Unreachable("timed out")
            answer = {"runs": [run("ab".index(self.name))]}
            host = ScriptedHost({"status": answer, "record": {"record": {}}})
            host.label = self.name
            yield host

    store, facts = Store(client.state_dir), runfacts.parse_run(run(0))
    assert facts
    store.save_run(CachedRun("a,b", 1.0, facts))
    for label in "ab":
        store.save_target(label, 1.0)
    monkeypatch.setattr("orchestrator.registry.target", lambda ctx, settings, label: OneOfTwo(label))
    client.env["GPUJOB_TARGET"] = "a"
    shown = client.run("runs", "--json")
    assert shown.code == 0, shown.out + shown.err
    assert [(one["target"], one["state"]) for one in shown.json["runs"]] == [("a,b", shown_as)]


def test_a_host_that_was_named_and_does_not_answer_is_an_error(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hosts(client, monkeypatch, "gone")
    assert client.run("runs", "--on", "gone").code == 5


def test_the_table_has_metrics_and_the_configuration_that_differs(client: Client) -> None:
    runs_on_this_machine(client)
    table = client.run("runs").out.splitlines()
    assert table[0].split() == ["run", "state", "took", "val.loss", "train.loss", "lr"]
    assert table[2].split()[-3:] == ["0.1", "1", "0.2"]
    assert table[2].split()[:2] == [fetched.run_id(2), "succeeded"]


@pytest.mark.parametrize(
    ("width", "shown", "left_out"),
    [
        ("160", ["run", "state", "took", "val.loss", "train.loss", "lr"], ""),
        ("80", ["run", "state", "took", "val.loss", "train.loss"], "left out, as the terminal is narrow: lr"),
        ("50", ["run", "state", "val.loss"], "narrow: took, train.loss, lr; --json has all"),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns_and_is_told(
    client: Client, width: str, shown: list[str], left_out: str
) -> None:
    runs_on_this_machine(client)
    client.env["COLUMNS"] = width
    result = client.run("runs", "--sort", "val.loss", stdout=Screen())
    lines = result.out.splitlines()
    assert lines[0].split() == shown
    assert len(lines) == 4
    assert left_out in result.err


def test_a_group_is_fetched_after_one_question(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_on_this_machine(client)
    asked: list[str] = []

    def fake(ctx: Context, run: str, *_: Any) -> int:
        asked.append(run)
        if run == fetched.run_id(2):
            raise NotFound("it has no best checkpoint")
        return 0

    monkeypatch.setattr(fetch, "fetch", fake)
    refused = client.run("runs", "--fetch")
    assert (refused.code, asked) == (7, [])
    assert f"3 runs: {fetched.run_id(1)} (started by ana@laptop)" in refused.err
    result = client.run("runs", "--fetch", "--yes", "--json")
    assert (result.code, asked) == (1, [fetched.run_id(number) for number in (1, 2, 3)])
    assert result.json["done"] == [fetched.run_id(1), fetched.run_id(3)]
    assert result.json["failed"] == [{"run": fetched.run_id(2), "what": "it has no best checkpoint"}]


def test_only_active_runs_are_stopped(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_on_this_machine(client)
    monkeypatch.setattr(stop, "stop", lambda *_: pytest.fail("no run is active"))
    result = client.run("runs", "--stop", "--yes")
    assert (result.code, "none of the 3 runs is active" in result.err) == (0, True)


def test_a_job_without_runs_is_named(client: Client) -> None:
    runs_on_this_machine(client)
    assert "no run of a job nosuch is known; gpujob runs" in client.run("runs", "--job", "nosuch").out


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        *(("val.loss", True), ("valLoss", True), ("dev.wer", True), ("word_error", True), ("val.rmse", True)),
        *(("answers", False), ("power", False), ("val.f1", False), ("certainty", False)),
    ],
)
def test_less_is_better_of_losses_and_errors_alone(name: str, lower: bool) -> None:
    assert is_lower_better(name) is lower
