"""What --json prints: documented, with the same keys in every state, times as ISO 8601."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
import pytest

from docs.make_schemas import ANSWERS, outdated, schema
from orchestrator.cli.help import Command, Group
from orchestrator.core import events as ev
from orchestrator.core import runstate
from orchestrator.core.runfacts import Checkpoints, QueuePlace, RunFacts, RunRecord, SupervisorState
from orchestrator.core.values import iso, parse_since
from orchestrator.errors import UsageError
from orchestrator.view import answers
from orchestrator.view.status import HostReport, RunReport, host_json, run_json
from tests.rigs.answers import fault
from tests.rigs.commandtree import ROOT
from tests.support import Client, new_client

NOW = 1_764_000_000.0
CHECKPOINTS = Checkpoints(steps=(4, 8), last=8, best=4)


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def run(state: SupervisorState | None = None, **more: Any) -> RunFacts:
    return RunFacts(id="job-1", record=RunRecord(job="job", created=NOW - 900), state=state, **more)


def ended(**more: Any) -> RunFacts:
    return run(SupervisorState(started=NOW - 60, ended=NOW - 1, **more), checkpoints=CHECKPOINTS)


PROGRESS = ev.parse([{"event": "progress", "t": NOW - 5, "step": 8, "of": 9, "loss": math.nan}])
STATES = {
    "preparing": RunFacts(id="job-1", record=RunRecord(created=NOW - 1)),
    "queued": run(queue=QueuePlace(place=1, of=2, since=NOW - 60)),
    "running": run(SupervisorState(started=NOW - 60, attempt=1), supervised=True, events=PROGRESS),
    "succeeded": ended(exit_code=0),
    "failed": ended(exit_code=1),
    "stopped": ended(reason="stopped", by="ana"),
    "preempted": ended(reason="preempted"),
    "orphaned": run(SupervisorState(started=NOW - 60), pids=(7,)),
    "elsewhere": run(SupervisorState(started=NOW - 60, heartbeat=NOW - 2), elsewhere="node7"),
    "lost": run(SupervisorState(started=NOW - 60, heartbeat=NOW - 50), checkpoints=CHECKPOINTS),
    "damaged": run(damage=("run.json: no JSON",)),
}


def test_every_state_is_among_those_below() -> None:
    assert {*STATES, "unreachable"} == set(runstate.WORDS)


@pytest.mark.parametrize("word", [*STATES, "unreachable"])
def test_a_run_has_the_same_keys_and_types_in_every_state(client: Client, word: str) -> None:
    facts = STATES.get(word, STATES["running"])
    state = runstate.Unreachable("no answer") if word == "unreachable" else runstate.fold(facts, NOW)
    ctx = client.context(json=True)
    ctx.answer(answers.Monitor(run=run_json(RunReport(facts, state, "gpubox"))))
    shown = json.loads(ctx.stdout.getvalue())  # type: ignore[attr-defined]
    assert fault(shown, answers.Monitor) is None
    assert set(shown["run"]) == {field.name for field in msgspec.structs.fields(answers.Run)}
    assert shown["run"]["state"] == word
    times = [shown["run"][key] for key in ("created", "started", "ended", "heartbeat")]
    assert all(datetime.fromisoformat(time.replace("Z", "+00:00")) for time in times if time is not None)


def test_a_host_that_does_not_answer_has_the_keys_of_one_that_does() -> None:
    silent = msgspec.to_builtins(host_json(HostReport("gpubox", (), unreachable="refused", read_at=NOW)))
    assert (silent["gpus"], silent["disk"], silent["read_at"]) == (None, None, "2025-11-24T16:00:00Z")
    assert set(silent) == {field.name for field in msgspec.structs.fields(answers.Host)}


def test_every_command_with_json_has_its_schema() -> None:
    def paths(group: Any, prefix: str = "") -> Iterator[tuple[str, Command]]:
        for name, command in group.commands.items():
            if isinstance(command, Group):
                yield from paths(command, f"{prefix}{name} ")
            else:
                yield f"{prefix}{name}", command

    with_json = {name for name, one in paths(ROOT) if any("--json" in p.opts for p in one.params)}
    assert with_json - {"prepare"} == set(ANSWERS) - {"check --list"}


def test_the_schemas_in_the_docs_are_those_of_the_types() -> None:
    assert outdated() == [], "run: python docs/make_schemas.py"


def test_every_key_of_every_answer_is_required() -> None:
    def objects(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if "properties" in value:
                yield value
            for item in value.values():
                yield from objects(item)

    for kinds in ANSWERS.values():
        for kind in kinds:
            for one in objects(schema(kind)):
                assert one["required"] == list(one["properties"])
                assert one.get("additionalProperties") is not False


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "nosuch"),
        ("config", "show"),
        ("doctor",),
        ("cost",),
        ("hosts", "list", "--cached"),
        ("hosts", "up", "--dry-run"),
        ("deploy", "job.yaml", "--dry-run"),
        ("deploy", "job.yaml", "--on", "ec2", "--dry-run"),
        ("deploy", "nosuch"),
        ("verify", "nosuch"),
        ("stop", "nosuch"),
        ("monitor", "nosuch"),
        ("fetch", "nosuch"),
    ],
)
def test_an_answer_is_valid_and_alone_on_stdout(client: Client, words: tuple[str, ...]) -> None:
    client.job("pass")
    assert client.run(*words, "--json").json["schema_version"] == 2  # validated by Client.run


def test_times_are_iso_8601_and_odd_ones_unknown() -> None:
    assert iso(NOW) == "2025-11-24T16:00:00Z"
    assert [iso(odd) for odd in (None, math.nan, math.inf, 1e300, -1e300)] == [None] * 5


def test_since_takes_ages_and_dates() -> None:
    assert [parse_since(text, NOW) for text in ("30s", "90m", "2h", "1.5 d", "1w")] == [
        NOW - 30,
        NOW - 5400,
        NOW - 7200,
        NOW - 129600,
        NOW - 604800,
    ]
    assert parse_since("2025-11-24T16:00:00Z", 0) == NOW
    assert parse_since("2025-11-24", 0) == datetime(2025, 11, 24).timestamp()
    with pytest.raises(UsageError):
        parse_since("1e999 d", NOW)
