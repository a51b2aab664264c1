"""`status`: which hosts it asks, which runs it shows, and what it leaves out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.commands import runs
from orchestrator.core import runfacts, runstate
from orchestrator.instances.records import InstanceStore
from orchestrator.store import CachedRun, Store
from orchestrator.targets.base import Target
from orchestrator.view.headlines import headline
from orchestrator.view.status import RunReport
from tests.support import Client, ScriptedHost, new_client

NOW = 1_764_000_000.0


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def a_run(number: int, job: str = "job", exit_code: int | None = 0, **more: Any) -> dict[str, Any]:
    """Return what a host answers about run `number`, which began that many hours before NOW."""
    created = NOW - 3600 * number
    state = {"started": created, "ended": None if exit_code is None else created + 60, "exit_code": exit_code}
    return {
        "id": f"{job}-20261121T1011{number:02d}-{number:04x}",
        "run": {"job": job, "created": created},
        "state": state,
        "supervised": exit_code is None,
        **more,
    }


class Hosts:
    """Hosts by label; `asked` has the labels and the requests in order."""

    def __init__(self, client: Client, monkeypatch: pytest.MonkeyPatch, **runs: Any) -> None:
        self.client, self.runs, self.asked = client, runs, list[tuple[str, str]]()
        for label, listed in runs.items():
            Store(client.state_dir).save_target(label, NOW - 60)
            for one in listed if isinstance(listed, list) else []:
                facts = runfacts.parse_run(one)
                assert facts
                Store(client.state_dir).save_run(CachedRun(label, NOW - 60, facts))
        monkeypatch.setattr("orchestrator.registry.target", lambda ctx, settings, word: self.target(word))
        client.env["GPUJOB_TARGET"] = next(iter(runs))

    def target(self, label: str) -> Target:
        hosts = self

        class ScriptedTarget(Target):
            @contextlib.contextmanager
            def connect(self) -> Iterator[ScriptedHost]:
                listed = hosts.runs[label]
                if callable(listed):
                    listed()
                host = ScriptedHost({"status": lambda **fields: hosts.answer(label, **fields)})
                host.label = label
                yield host

        return ScriptedTarget()

    def answer(self, label: str, runs: list[str] | None = None, **_: Any) -> dict[str, Any]:
        self.asked.append((label, "all" if runs is None else runs[0]))
        every = self.runs[label] if isinstance(self.runs[label], list) else []
        listed = [one for one in every if runs is None or one["id"] in runs]
        return {"runs": [{**one, "brief": False} if runs else one for one in listed]}

    def status(self, *words: str) -> Any:
        result = self.client.run("status", *words, "--json", now=lambda: NOW)
        assert result.code == 0, result.out
        return result.json


def test_runs_beyond_the_limit_are_counted_and_listed_on_request(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = Hosts(client, monkeypatch, box=[a_run(n) for n in range(13, 0, -1)])
    assert "and 3 older: gpujob status --all" in client.run("status", now=lambda: NOW).out
    shown = hosts.status()
    assert (len(shown["runs"]), shown["hosts"][0]["older"]) == (10, 3)
    assert (len(hosts.status("--all")["runs"]), hosts.status("--all")["hosts"][0]["older"]) == (13, 0)
    assert [run["id"][-4:] for run in hosts.status("--limit", "2")["runs"]] == ["0002", "0001"]


def test_a_limit_leaves_no_run_out_that_is_going(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = Hosts(client, monkeypatch, box=[a_run(9, exit_code=None), *(a_run(n) for n in (3, 2, 1))])
    assert [run["state"] for run in hosts.status("--limit", "0")["runs"]] == ["running"]


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (("--state", "failed"), [4]),
        (("--state", "failed", "--state", "running"), [5, 4]),
        (("--job", "other"), [3]),
        (("--since", "2h"), [2, 1]),
        (("--since", "4h", "--job", "job", "--state", "succeeded"), [2, 1]),
    ],
)
def test_runs_are_chosen_by_state_job_and_age(
    client: Client, words: tuple[str, ...], numbers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [a_run(5, exit_code=None), a_run(4, exit_code=1), a_run(3, "other"), a_run(2), a_run(1)]
    shown = Hosts(client, monkeypatch, box=listed).status(*words)
    assert [int(run["id"][-4:], 16) for run in shown["runs"]] == numbers


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--state", "crashed"), "there is no such state"),
        (("--since", "tomorrow"), "neither an age"),
        (("--since", "2x"), "neither an age"),
        (("job", "--all"), "RUN is one run"),
        (("--all", "--limit", "3"), "exclude each other"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(
    client: Client, words: tuple[str, ...], message: str
) -> None:
    result = client.run("status", *words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_an_older_run_that_is_named_is_shown_in_full(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    old = a_run(30, "old", brief=True, log={"bytes": 5, "tail": ["its last line"]})
    hosts = Hosts(client, monkeypatch, box=[old, *(a_run(n) for n in range(12, 0, -1))])
    assert hosts.status("old")["runs"][0]["last_lines"] == ["its last line"]
    assert hosts.asked == [("box", "all"), ("box", old["id"])]


def test_only_the_host_of_a_named_run_is_asked(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = Hosts(client, monkeypatch, box=[a_run(1)], other=[a_run(2, "far")], third=[])
    assert hosts.status("far")["runs"][0]["job"] == "far"
    assert {label for label, _ in hosts.asked} == {"other"}


def test_a_run_that_is_not_cached_is_looked_for_on_every_host(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = Hosts(client, monkeypatch, box=[], other=[a_run(2, "far")])
    Store(client.state_dir).forget_run(a_run(2, "far")["id"])
    assert hosts.status("far")["runs"][0]["target"] == "other"
    assert {label for label, _ in hosts.asked} == {"box", "other"}


@pytest.mark.parametrize("labels", [("first", "copy"), ("copy", "first")])
def test_a_copy_of_a_hosts_folder_does_not_hide_where_a_run_is_alive(
    client: Client, labels: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = a_run(1, exit_code=None)
    lost = {**alive, "supervised": False, "last_host": "another"}
    listed = {"first": [alive], "copy": [lost]}
    hosts = Hosts(client, monkeypatch, **{label: listed[label] for label in labels})
    hosts.status()
    hosts.status()
    assert Store(client.state_dir).runs()[alive["id"]].target == "first"
    shown = hosts.status(alive["id"])["runs"]
    assert [(run["id"], run["state"]) for run in shown] == [(alive["id"], "running")]
    Store(client.state_dir).forget_run(alive["id"])  # both are asked then
    assert [run["state"] for run in hosts.status(alive["id"])["runs"]] == ["running"]


def test_a_run_that_a_volume_brought_to_another_host_is_found_there(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = a_run(1, exit_code=None)
    Hosts(client, monkeypatch, first=[alive])
    ended = type("Ended", (), {"has_ended": True})
    monkeypatch.setattr(InstanceStore, "find_label", lambda self, label: ended)
    ctx = client.context()
    run = runfacts.parse_run({**alive, "supervised": False})
    assert run
    host = ScriptedHost({})
    host.label = "second"
    runs.remember(ctx, Store(client.state_dir), host, [run])
    assert Store(client.state_dir).runs()[alive["id"]].target == "second"


@pytest.mark.parametrize(
    ("step", "is_last_known", "words"),
    [
        (40, False, "resumable from step 40"),
        (40, True, "resumable from step 40 or a later one"),
        (None, True, "resumable, as far as it got"),
        (None, False, "without a checkpoint"),
    ],
)
def test_an_interrupted_run_says_what_is_known_of_its_checkpoints(
    step: int | None, is_last_known: bool, words: str
) -> None:
    state = runstate.Preempted(1.0, step, is_last_known)
    assert headline(RunReport(runfacts.RunFacts(id="job-1"), state)) == words
