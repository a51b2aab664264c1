"""`ssh`, `stop` and `status` against a scripted host: where a shell opens, what is named if a host fails."""

from __future__ import annotations

import io
import os

import pytest

from orchestrator.errors import Unreachable
from tests.support import Client
from tests.unit.commands.scripted import SEEN, client, scripted, type_in

__all__ = ["client"]


def test_processes_that_survive_are_named_and_stop_fails(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = {**SEEN, "run": {"job": "x", "who": client.context().who}}
    host = scripted(status={"runs": [mine]}, stop={"was_running": True, "remaining": [77], "run": mine})
    result = type_in(client, host, "stop", monkeypatch=monkeypatch)
    assert (result.code, "pids 77" in result.err) == (1, True)


def test_a_host_that_does_not_answer_shows_the_cached_status_with_its_age(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    glance = {
        "hostname": "h",
        "gpus": [],
        "disk": {"free": 1, "total": 2},
        "memory": {"available": 1, "total": 2},
    }
    host = scripted(status={"runs": [SEEN], **glance})
    assert type_in(client, host, "status", "--on", "scripted", monkeypatch=monkeypatch).code == 0
    dead = scripted(status=Unreachable("no route"))
    result = type_in(client, dead, "status", "--on", "scripted", monkeypatch=monkeypatch)
    assert result.code == 0
    assert "does not answer" in result.err
    assert SEEN["id"] in result.out
    assert type_in(client, dead, "status", "--on", "scripted", "--json", monkeypatch=monkeypatch).json[
        "hosts"
    ][0]["unreachable"]


def test_a_shell_is_opened_where_the_run_is_and_only_in_a_terminal(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, became = scripted(status={"runs": [SEEN]}), list[list[str]]()
    monkeypatch.setattr(os, "execvpe", lambda word, words, env: became.append(words))
    refused = type_in(client, host, "ssh", monkeypatch=monkeypatch)
    assert (refused.code, "needs a terminal" in refused.err, became) == (1, True, [])

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    streams = {"stdin": Terminal(), "stdout": Terminal()}
    bare = scripted(status={"runs": []})
    for of, words in ((host, ["ssh", "facenet-lstm"]), (bare, ["ssh", "--on", "scripted"])):
        type_in(client, of, *words, monkeypatch=monkeypatch, **streams)
    assert became == [["true", SEEN["id"]], ["true", "home"]]
    leases: list[float] = []
    instance = scripted(status={"runs": [SEEN]})
    monkeypatch.setattr(instance, "extend_lease", lambda seconds: leases.append(seconds) or True)
    result = type_in(client, instance, "ssh", "facenet-lstm", monkeypatch=monkeypatch, **streams)
    assert (leases, "stays up for an hour" in result.err) == ([3600.0], True)
    assert (
        type_in(client, bare, "ssh", "--on", "scripted", "none", monkeypatch=monkeypatch, **streams).code == 3
    )
