"""What `deploy` and `check` do with the report of the checks on a host: cache, refuse, warn."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.process import Done
from tests.support import Client
from tests.unit.commands.scripted import DEPLOY, REPORT, client, scripted, type_in
from tests.unit.core.test_plan import FACTS, PYTHON

__all__ = ["client"]


def test_a_check_result_is_cached_and_any_change_repeats_the_check(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checks(*more: str, **answers: Any) -> int:
        host = scripted(**answers)
        result = type_in(
            client, host, "check", "facenet-lstm", "--data", "sets", *more, monkeypatch=monkeypatch
        )
        assert result.code == 0, result.err
        return [op for op, _ in host.requests].count("run")

    assert [checks(), checks()] == [1, 0]
    assert checks("--fresh") == 1
    assert checks("--set", "config.epochs=3") == 1
    (client.project / "sets" / "crema" / "new.npz").write_text("x")
    assert checks() == 1
    assert checks(host_facts={**FACTS, "pythons": [{**PYTHON, "torch": "9"}]}) == 1


def test_without_torch_names_and_splits_are_checked_and_a_warning_is_shown(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = ([json.dumps({**REPORT, "tier": "files"})], Done(0, ""))
    host = scripted(host_facts={**FACTS, "pythons": [{**PYTHON, "torch": None}]}, run=report)
    result = type_in(client, host, "check", "facenet-lstm", "--data", "sets", monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    assert "only names, labels and splits" in result.err
    assert json.loads(host.requests[-1][1]["stdin"])["tier"] == "files"


def test_an_error_of_the_check_starts_nothing_and_names_the_finding(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = {
        "code": "split.groups",
        "severity": "error",
        "seen": "actor 3 twice",
        "fix": "mend it",
        "key": None,
    }
    report = {**REPORT, "findings": [finding]}
    host = scripted(run=([json.dumps(report)], Done(64, "")))
    result = type_in(client, host, *DEPLOY, monkeypatch=monkeypatch)
    assert result.code == 1
    for text in ("split.groups", "actor 3 twice", "mend it"):
        assert text in result.err
    assert "start" not in [op for op, _ in host.requests]


def test_a_warning_is_shown_and_lets_the_deploy_pass(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = {"code": "balance", "severity": "warning", "seen": "few sad", "fix": "more", "key": None}
    host = scripted(run=([json.dumps({**REPORT, "findings": [finding]})], Done(0, "")))
    result = type_in(client, host, *DEPLOY, monkeypatch=monkeypatch)
    assert (result.code, "balance: few sad" in result.err) == (0, True)


def test_data_without_a_usable_sample_names_five_files_and_why(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = [{"file": f"f{n}.npz", "why": "no key"} for n in range(9)]
    finding = {"code": "labels.nonempty", "severity": "error", "seen": "0 of 9", "fix": "x", "key": None}
    report = {
        **REPORT,
        "findings": [finding],
        "data": {"samples": 9, "used": 0, "refused": refused, "tables": []},
    }
    host = scripted(run=([json.dumps(report)], Done(65, "")))
    result = type_in(client, host, *DEPLOY, monkeypatch=monkeypatch)
    assert result.code == 1
    assert "f0.npz: no key; f1.npz: no key" in result.err
    assert ("f4.npz" in result.err, "f5.npz" in result.err) == (True, False)


def test_a_check_that_crashes_without_a_report_shows_its_last_output(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = scripted(run=(["noise"], Done(1, "Traceback\nMemoryError: no\n")))
    result = type_in(client, host, *DEPLOY, monkeypatch=monkeypatch)
    assert (result.code, "MemoryError: no" in result.err) == (1, True)
