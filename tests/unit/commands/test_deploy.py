"""Deploy, check, stop and status against a scripted host: their requests, the order, and refusals."""

from __future__ import annotations

import io
import json
import os
import time
from typing import Any

import pytest

from orchestrator.errors import Unreachable
from orchestrator.process import Done
from orchestrator.targets.base import Refused
from tests.support import Client
from tests.unit.commands.scripted import DEPLOY, REPORT, SEEN, client, scripted, type_in
from tests.unit.core.test_plan import FACTS, PYTHON

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
        "data": {"found": 9, "used": 0, "refused": refused, "tables": []},
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


def test_resume_takes_no_other_options_and_no_run_of_another_job(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = scripted(status={"runs": [{**SEEN, "run": {"job": "other"}}]})
    options = type_in(client, host, *DEPLOY, "--resume", "x", monkeypatch=monkeypatch)
    assert (options.code, "takes no --set" in options.err) == (2, True)
    foreign = type_in(client, host, "deploy", "facenet-lstm", "--resume", SEEN["id"], monkeypatch=monkeypatch)
    assert (foreign.code, "a run of other" in foreign.err) == (2, True)


def test_a_budget_becomes_the_hours_that_it_pays_for_on_this_host(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = scripted()
    monkeypatch.setattr(host, "hours_for", lambda budget_usd: budget_usd / 1.005)

    def hours() -> float:
        specs = [fields["spec"] for op, fields in host.requests if op == "start"]
        return float(specs[-1]["limits"]["max_hours"])

    words = (*DEPLOY, "--budget", "10")
    result = type_in(client, host, *words, monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    assert hours() == pytest.approx(10 / 1.005)
    lower = type_in(client, host, *words, "--name", "b", "--max-hours", "2", monkeypatch=monkeypatch)
    assert lower.code == 0, lower.err
    assert hours() == 2.0


def test_a_budget_without_a_price_fails_as_flag_and_warns_in_a_job_file(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = type_in(client, scripted(), *DEPLOY, "--budget", "10", monkeypatch=monkeypatch)
    assert (refused.code, "the price of scripted is not known" in refused.err) == (2, True)
    words = (*DEPLOY, "--set", "limits.budget_usd=10")
    result = type_in(client, scripted(), *words, monkeypatch=monkeypatch)
    assert (result.code, "limits.budget_usd is ignored: the price of scripted" in result.err) == (0, True)


@pytest.mark.parametrize("value", ["0", "-5", "nan", "inf"])
def test_hours_and_dollars_that_cannot_be_counted_by_are_refused(client: Client, value: str) -> None:
    for words in (("deploy", "job"), ("hosts", "up", "--dry-run")):
        for flag in ("--max-hours", "--budget"):
            result = client.run(*words, f"{flag}={value}")
            assert (result.code, "must be above 0" in result.err) == (2, True)


def test_a_dry_run_on_ec2_has_price_hours_and_worst_case_as_numbers(client: Client) -> None:
    client.job("pass")
    words = ("deploy", "job.yaml", "--on", "ec2", "--dry-run", "--max-hours", "2")
    launch = client.run(*words, "--json").json["plan"]["launch"]
    assert (launch["hours"], launch["limited_by"], launch["spot"]) == (2, "--max-hours", False)
    assert launch["worst_case_usd"] == pytest.approx(2 * launch["usd_per_hour"], abs=0.01)
    shown = client.run(*words).out
    assert f"at most ${launch['usd_per_hour']:.3f} an hour" in shown
    assert f"${launch['worst_case_usd']:.2f}" in shown


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


def test_a_dry_run_for_several_regions_shows_the_price_in_each(client: Client) -> None:
    regions = ["us-east-1", "eu-west-1", "ap-northeast-1", "sa-east-1", "eu-central-1"]
    client.job("pass")
    words = ("deploy", "job.yaml", "--on", "ec2", "--dry-run", "--max-hours", "2")
    words = (*words, "--set", "resources.ec2.types=[g5.xlarge]", "--set", f"resources.ec2.regions={regions}")
    launch = client.run(*words, "--json").json["plan"]["launch"]
    each = launch["usd_per_hour_by_region"]
    assert (sorted(each), launch["usd_per_hour"]) == (sorted(regions), max(each.values()))
    assert len(set(each.values())) > 2
    shown = client.run(*words).out
    assert all(f"{region} ${usd:.3f}" in shown for region, usd in each.items())


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"k" * 129: "v"}, "1 to 128 characters"),
        ({"k": "v" * 257}, "at most 256"),
        ({"aws:x": "v"}, "AWS reserves"),
        ({"gpujob:managed": "0"}, "gpujob sets it"),
        ({f"k{number}": "v" for number in range(43)}, "at most 50, and gpujob sets 8"),
    ],
)
def test_tags_that_ec2_would_refuse_are_refused_before_a_launch(
    client: Client, tags: dict[str, str], why: str
) -> None:
    client.job("pass")
    words = (
        "deploy",
        "job.yaml",
        "--on",
        "ec2",
        "--dry-run",
        "--set",
        f"resources.ec2.tags={json.dumps(tags)}",
    )
    result = client.run(*words)
    assert (result.code, "resources.ec2.tags" in result.err, why in result.err) == (2, True, True), result.err
