"""A run over several instances: launched, resumed, fetched and ended as one."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.instances import connection, lifecycle
from orchestrator.instances.instance import Description, parse_description
from tests.ec2 import user
from tests.ec2.group_jobs import WORDS, job, labels, members, prepared, rules, succeed
from tests.ec2.killing import Arrived, Killed, Killer, chosen, empty, untracked
from tests.ec2.listing import priced
from tests.ec2.test_rig import aws
from tests.rigs.ec2.fake import FakeEC2
from tests.rigs.torchpython import environment as torchpython
from tests.support import Client
from tests.unit.instances.test_policy import POLICY


@pytest.fixture
def client(ec2: FakeEC2, realtime_client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    return prepared(realtime_client, ec2, monkeypatch)


def test_two_instances_are_one_run_from_quote_to_end(ec2: FakeEC2, client: Client) -> None:
    ec2.set(policy=POLICY)
    job(client)
    preview = succeed(client.run(*WORDS, "--dry-run", "--json")).json["plan"]["launch"]
    assert (preview["nodes"], preview["hours"]) == (2, 2.0)
    one = succeed(client.run(*WORDS, "--dry-run", "--json", "--set", "resources.nodes=1")).json["plan"]
    assert preview["worst_case_usd"] == pytest.approx(2 * one["launch"]["worst_case_usd"], abs=0.02)
    asked = client.run(*[word for word in WORDS if word != "--yes"])
    assert (asked.code, f"${preview['worst_case_usd']:.2f}" in asked.err) == (7, True), asked.err
    assert "2 instances of one type in one zone, or none" in asked.err

    run = succeed(client.run(*WORDS)).out.strip()
    (call,) = ec2.calls("RunInstances")
    assert (call["parameters"]["MinCount"], call["parameters"]["MaxCount"]) == ("2", "2")
    first, second = members(client)
    assert (first.zone, first.group, first.run) == (second.zone, second.group, second.run)
    assert (first.group != "", first.run) == (True, run)
    assert rules(first.security_group) == [("198.51.100.7/32", 22, 22), (first.security_group, 1024, 65535)]
    (shown,) = succeed(client.run("status", "--json")).json["runs"]
    assert (shown["id"], shown["target"], shown["state"]) == (run, labels(client), "running")
    listed = succeed(client.run("hosts", "list", "--json")).json["instances"]
    assert [one["group"] for one in listed] == [first.group] * 2
    costs = succeed(client.run("cost", "--json")).json["instances"]
    assert [list(one["runs"]) for one in costs] == [[run]] * 2

    before = first.deadline
    extended = client.run("hosts", "extend", first.label, "--hours", "1", "--yes")
    assert [one.deadline - before for one in members(client)] == [3600, 3600], extended.err
    for one in members(client):
        content = ec2.run(one.id, "cat", "/run/gpujob/deadline")[1]
        assert int(content) == int(before) + 3600
    succeed(client.run("stop", run))
    fetched = succeed(client.run("fetch", run))
    home = client.project / "fetched" / run
    assert "together 0 of 2" in (home / "log").read_text()
    assert "together 1 of 2" in (home / "rank-1" / "log").read_text()
    assert not (home / "rank-1" / "work").exists()
    assert set(ec2.states().values()) == {"terminated"}, fetched.err
    assert ec2.leftovers() == []
    assert client.run("status").code == 0


def test_a_budget_is_divided_among_all_instances(ec2: FakeEC2, client: Client) -> None:
    job(client)
    words = ("deploy", "job", "--on", "ec2", "--dry-run", "--json", "--budget", "4")
    both = succeed(client.run(*words)).json["plan"]["launch"]
    one = succeed(client.run(*words, "--set", "resources.nodes=1")).json["plan"]["launch"]
    assert both["hours"] == pytest.approx(one["hours"] / 2, abs=1e-3)
    assert (both["worst_case_usd"], one["worst_case_usd"]) == (4.0, 4.0)


def test_without_capacity_for_all_instances_none_is_launched(ec2: FakeEC2, client: Client) -> None:
    job(client)
    ec2.inject("RunInstances", "InsufficientInstanceCapacity", times=99)
    refused = client.run(*WORDS)
    assert (refused.code, "no capacity for g5.xlarge" in refused.err) == (1, True), refused.err
    assert {call["parameters"]["MinCount"] for call in ec2.calls("RunInstances")} == {"2"}
    assert (ec2.states(), user.store(client).attempts()) == ({}, [])


@pytest.mark.parametrize("lacks_capacity", [True, False])
def test_where_one_instance_ends_before_it_is_ready_none_is_left(
    ec2: FakeEC2, client: Client, lacks_capacity: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EC2 may end an instance seconds after it launched it, for lack of capacity too."""
    ec2.set(machines=False, pending=0.5, stopping=0.0, hidden_calls=0)
    job(client)
    before, ended = set(ec2.states()), list[str]()
    real = parse_description

    def parse(answer: Any, account: str | None) -> Description:
        found = real(answer, account)
        reason = "Server.InsufficientInstanceCapacity: none" if lacks_capacity else "Server.InternalError"
        return replace(found, state_reason=reason) if found.state == "terminated" else found

    def sleep(seconds: float) -> None:
        if not ended:
            ended.append(max(set(ec2.states()) - before))
            aws().terminate_instances(InstanceIds=ended)
        elif len(set(ec2.states()) - before) > 2 and all(one.state == "running" for one in members(client)):
            raise Killed
        time.sleep(0.02)

    monkeypatch.setattr(lifecycle, "parse_description", parse)
    if lacks_capacity:
        with pytest.raises(Killed):
            client.run(*WORDS, sleep=sleep)
    else:
        failed = client.run(*WORDS, sleep=sleep)
        assert (failed.code, "all instances of a run are up, or none is" in failed.err) == (1, True), (
            failed.err
        )
    zones = [call["zone"] for call in ec2.calls("RunInstances")]
    assert zones == (["us-east-1a", "us-east-1b"] if lacks_capacity else ["us-east-1a"])
    launched = set(ec2.states()) - before
    gone = {one for one in launched if ec2.states()[one] == "terminated"}
    assert (len(gone), launched - gone) == (2, {one.id for one in members(client)})
    assert bool(ec2.leftovers()) == lacks_capacity


def test_instances_without_their_gpus_are_all_ended(
    ec2: FakeEC2, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ec2.set(gpu_driver="mismatch")
    job(client)
    monkeypatch.setattr(connection, "GPU_PAUSE", 600.0)
    clock = user.Clock()
    failed = client.run(*WORDS, "--set", "resources.gpus=1", sleep=clock.sleep, now=clock.now)
    assert (failed.code, "does not have the GPUs of its type" in failed.err) == (1, True), failed.err
    assert set(ec2.states().values()) == {"terminated"}
    assert ec2.leftovers() == []


def test_a_client_killed_at_any_point_of_a_launch_leaves_nothing_unknown(
    ec2: FakeEC2, client: Client, trials: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty(ec2)
    job(client)
    killer = Killer(monkeypatch)

    def deploy() -> bool:
        def wait(seconds: float) -> None:
            running = [one for one in members(client) if one.state == "running"]
            if len(running) == 2:
                raise Arrived
            time.sleep(0.01)

        try:
            result = user.run(client, *WORDS, sleep=wait)
        except Killed:
            return False
        except Arrived:
            return True
        raise AssertionError(result.err)

    assert deploy()
    passed = killer.passed
    for at in chosen(trials, passed, 1):
        shutil.rmtree(client.state_dir)
        empty(ec2)
        before = set(ec2.states())
        killer.set(at)
        deploy()
        killer.set(0)
        status = user.run(client, "status", "--json")
        assert status.code == 0, (at, status.err)
        assert untracked(ec2, client, before) == set(), at
        assert set(ec2.states()) - before == priced(status), at
        assert deploy(), at
        assert len(set(ec2.states()) - before) == 2, (at, status.err)
        assert len({one.group for one in members(client)}) == 1, at
        assert (len(members(client)), user.store(client).attempts()) == (2, []), at


@pytest.mark.torch
def test_two_instances_train_as_one_process_does(ec2: FakeEC2, client: Client, trials: Any) -> None:
    if not trials(0, 1):
        pytest.skip("in `make test-full`: two SSH hosts do the same")
    server = torchpython.shared()
    client.python = server.python
    ec2.set(visible=[*ec2.settings.visible, str(server.folder)])
    succeed(client.run("prepare", "blendshapes", "--sample", "faces", "--size", "200"))
    sets = ("epochs=3", "warmup_epochs=1", "hidden=[8]", "batch_size=50", "patience=0")
    pairs = [*(f"config.{pair}" for pair in sets), f"env.python={server.python}"]
    words = ["deploy", "blendshapes", "--data", "faces", *(w for pair in pairs for w in ("--set", pair))]
    succeed(client.run(*words, "--follow"))
    alone = next((client.root / "runs").iterdir())
    ec2_words = ("--on", "ec2", "--yes", "--max-hours", "1", "--set", "resources.nodes=2", "--name", "both")
    succeed(client.run(*words, *ec2_words, "--follow"))
    (run,) = [one for one in client.run("status", "--json").json["runs"] if one["job"] == "both"]
    succeed(client.run("fetch", run["id"]))
    assert ec2.leftovers() == []
    folders = [alone, client.project / "fetched" / run["id"]]
    events = [[json.loads(line) for line in (f / "events.jsonl").read_text().splitlines()] for f in folders]
    assert [next(e["world_size"] for e in each if e["event"] == "start") for each in events] == [1, 2]
    one, two = ([e["values"] for e in each if e["event"] == "metrics"] for each in events)
    assert len(one) >= 6
    for mine, theirs in zip(one, two, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-6, abs=1e-9)
