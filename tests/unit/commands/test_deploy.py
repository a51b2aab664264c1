"""`deploy` against a scripted host: its requests, their order, and what a cut start leaves."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from orchestrator.errors import Unreachable
from orchestrator.targets.base import Refused
from tests.support import Client
from tests.unit.commands.scripted import DEPLOY, SEEN, client, scripted, type_in
from tests.unit.core.test_plan import FACTS

__all__ = ["client"]


def test_a_deploy_reads_facts_once_checks_sends_and_starts(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = scripted()
    result = type_in(client, host, *DEPLOY, monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    assert [op for op, _ in host.requests] == ["host_facts", "run", "start"]
    assert host.requests[1][1]["cwd"] == host.requests[1][1]["env"]["PYTHONPATH"]
    assert len(host.sent) == 1
    spec = host.requests[-1][1]["spec"]
    assert spec["argv"] == ["/py", "-m", "trainers", "train", "facenet-lstm"]
    assert spec["env"]["PYTHONPATH"] == f"/r/code/{host.sent[0]}"
    assert result.out.strip() == spec["id"]


def test_code_that_arrives_with_a_wrong_digest_is_hashed_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a wrong digest in the local cache would make every further deploy fail."""
    client.job("print(1)")
    for file in client.project.iterdir():
        os.utime(file, (1e9, 1e9))
    host, cache = scripted(), client.state_dir / "digests"
    ahead = time.time() + 100
    assert client.run("deploy", "job", "--dry-run", now=lambda: ahead).code == 0
    assert len(list(cache.iterdir())) == 1

    def refuse(tree: Any) -> None:
        raise Refused("changed", "the code changed while it was sent")

    monkeypatch.setattr(host, "send_tree", refuse)
    assert type_in(client, host, "deploy", "job", monkeypatch=monkeypatch).code == 1
    assert list(cache.iterdir()) == []


def test_a_start_that_is_refused_leaves_no_intent_open(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = scripted(start=Refused("tmux", "tmux would not"))
    result = type_in(client, host, *DEPLOY, monkeypatch=monkeypatch)
    assert (result.code, "tmux would not" in result.err) == (1, True)
    assert list((client.state_dir / "intents").glob("*.json")) == []


def test_a_start_cut_by_a_broken_connection_is_continued_from_its_intent(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run may have started: the start is repeated with the same run id, so it has one run."""
    host = scripted(start=[Unreachable("cut"), Unreachable("cut")])
    assert type_in(client, host, *DEPLOY, monkeypatch=monkeypatch).code == 5
    first = host.requests[-1][1]["spec"]["id"]
    again = scripted()
    result = type_in(client, again, *DEPLOY, monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    assert again.requests[-1][1]["spec"]["id"] == first


def test_an_open_intent_whose_run_is_up_is_confirmed_and_not_started_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = scripted(start=Unreachable("cut"))
    type_in(client, host, *DEPLOY, monkeypatch=monkeypatch)
    up = {**SEEN, "id": host.requests[-1][1]["spec"]["id"]}
    again = scripted(status={"runs": [up]})
    result = type_in(client, again, *DEPLOY, monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    assert "start" not in [op for op, _ in again.requests]
    assert "had started" in result.err


def test_an_intent_for_another_plan_is_dropped_and_its_partial_run_removed(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = scripted(start=Unreachable("cut"))
    type_in(client, host, *DEPLOY, monkeypatch=monkeypatch)
    old = host.requests[-1][1]["spec"]["id"]
    half = {**SEEN, "id": old, "state": None, "supervised": False, "pids": []}
    again = scripted(status={"runs": [half]})
    result = type_in(client, again, *DEPLOY, "--set", "config.epochs=3", monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    assert ("clean", {"run": old, "purge": True}) in again.requests
    assert again.requests[-1][1]["spec"]["id"] != old


def test_resume_takes_no_other_options_and_no_run_of_another_job(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = scripted(status={"runs": [{**SEEN, "run": {"job": "other"}}]})
    options = type_in(client, host, *DEPLOY, "--resume", "x", monkeypatch=monkeypatch)
    assert (options.code, "takes no --set" in options.err) == (2, True)
    foreign = type_in(client, host, "deploy", "facenet-lstm", "--resume", SEEN["id"], monkeypatch=monkeypatch)
    assert (foreign.code, "a run of other" in foreign.err) == (2, True)


@pytest.mark.parametrize(
    ("image_id", "operations"), [(None, ["ensure_image", "start"]), ("sha256:ab", ["start"])]
)
def test_an_image_is_asked_for_only_where_the_host_lacks_it(
    client: Client, monkeypatch: pytest.MonkeyPatch, image_id: str | None, operations: list[str]
) -> None:
    engine = {
        "program": "docker",
        "kind": "docker",
        "version": "28",
        "gives_gpus": True,
        "image_id": image_id,
    }
    host = scripted(host_facts={**FACTS, "containers": engine}, ensure_image={"id": "sha256:ab"})
    client.write("train.py", "import torch\n")
    client.write("job.yaml", "name: job\ncommand: [no-such-python, train.py]\nimage: a/b:1\n")
    planned = type_in(client, host, "deploy", "job", "--dry-run", monkeypatch=monkeypatch)
    assert (planned.code, "image a/b:1" in planned.out) == (0, True), planned.err
    result = type_in(client, host, "deploy", "job", monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    asked = [(op, fields) for op, fields in host.requests if op != "host_facts"]
    assert [op for op, _ in asked] == operations
    assert asked[-1][1]["spec"]["image"] == {"name": "a/b:1"}
    facts = next(fields for op, fields in host.requests if op == "host_facts")
    assert (facts["image"], facts["commands"]) == ("a/b:1", [])
