"""`deploy --resume RUN`: the run itself says what it was deployed with."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import Client
from tests.unit.commands.scripted import SEEN, client, scripted, type_in

__all__ = ["client"]

NAMED = "second-20261121T101112-1a2b"
RECORD = {"job": "second", "who": "tester", "source": "train.yaml", "resources": {"gpus": 2}}
ENDED = {
    **SEEN,
    "id": NAMED,
    "run": RECORD,
    "state": {"ended": 9.0, "reason": "stopped", "by": "tester", "attempt": 1},
    "supervised": False,
    "pids": [],
    "checkpoints": {"steps": [40], "last": 40, "best": 40},
}


def restarted(spec: dict[str, Any], **_: Any) -> dict[str, Any]:
    return {"started": True, "run": {**ENDED, "state": {"attempt": 2}, "supervised": True}}


@pytest.mark.parametrize("job", [(), ("second",), ("train",), ("jobs/train.yaml",)])
def test_a_named_run_is_resumed_by_its_id_whatever_job_file_there_is(
    client: Client, monkeypatch: pytest.MonkeyPatch, job: tuple[str, ...]
) -> None:
    host = scripted(status={"runs": [ENDED]}, start=restarted)
    result = type_in(client, host, "deploy", *job, "--resume", NAMED, monkeypatch=monkeypatch)
    assert (result.code, "goes on from step 40" in result.err) == (0, True), result.err
    assert [fields["spec"] for op, fields in host.requests if op == "start"] == [{"id": NAMED}]


def test_a_job_file_that_changed_or_broke_does_not_stop_a_resume(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.write("train.yaml", "name: [not a job")
    host = scripted(status={"runs": [ENDED]}, start=restarted)
    assert (
        type_in(client, host, "deploy", "train.yaml", "--resume", "second", monkeypatch=monkeypatch).code == 0
    )


def test_a_resume_in_a_dry_run_prints_its_step_and_starts_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = scripted(status={"runs": [ENDED]}, start=restarted)
    words = ("deploy", "--resume", NAMED, "--dry-run")
    result = type_in(client, host, *words, monkeypatch=monkeypatch)
    assert (result.code, f"resume {NAMED}: from step 40" in result.out) == (0, True), result.err
    as_json = type_in(client, host, *words, "--json", monkeypatch=monkeypatch)
    assert as_json.json["plan"]["steps"][0]["title"] == f"resume {NAMED}"
    assert "start" not in [op for op, _ in host.requests]


def test_a_resumed_run_needs_the_gpus_that_it_was_deployed_with(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"tmux": "tmux 3.3a", "gpus": [{"index": 0}], "disk": {"free": 2**40}}
    host = scripted(status={"runs": [ENDED]}, host_facts=facts)
    result = type_in(client, host, "deploy", "--resume", NAMED, monkeypatch=monkeypatch)
    assert (result.code, "too few GPUs" in result.err) == (1, True), result.err


def test_a_deploy_without_a_job_says_what_is_missing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    result = type_in(client, scripted(), "deploy", monkeypatch=monkeypatch)
    assert (result.code, "JOB is missing" in result.err) == (2, True)


def test_a_resumed_script_without_a_checkpoint_is_not_said_to_start_over(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {**ENDED, "checkpoints": {"steps": [], "last": None, "best": None}}
    words = ("deploy", "--resume", NAMED, "--dry-run")
    result = type_in(client, scripted(status={"runs": [run]}), *words, monkeypatch=monkeypatch)
    assert f"resume {NAMED}: with its command, in its working folder as it was left" in result.out
    trained = {**run, "run": {**RECORD, "trainer": "facenet-lstm"}}
    result = type_in(client, scripted(status={"runs": [trained]}), *words, monkeypatch=monkeypatch)
    assert f"resume {NAMED}: from the start: it has no checkpoint" in result.out
