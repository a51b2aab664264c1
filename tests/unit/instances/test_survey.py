"""One list of what exists in EC2, found by tags, is what every command shows and what records follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.instances import survey
from orchestrator.instances.cloud import UNSEEN_PAUSES, Account
from orchestrator.instances.instance import Instance
from tests.support import Client, Result, new_client
from tests.unit.instances.fake_account import FakeAccount, tags

NOW = 1_000_000.0
PAST, FUTURE = str(int(NOW) - 60), str(int(NOW) + 3600)
COMMANDS = (("hosts", "list"), ("status",), ("cost",))


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        client.env["GPUJOB_TARGET"] = "ec2"
        yield client


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> FakeAccount:
    return FakeAccount(monkeypatch)


def run(client: Client, *words: str, at: float = NOW) -> Result:
    return client.run(*words, now=lambda: at, sleep=lambda seconds: None)


def record(client: Client, **fields: Any) -> Instance:
    given = {"id": "i-1", "region": "us-east-1", "launched": NOW - 7200, "type": "g5.xlarge"}
    return Account(client.context()).records.save(Instance(**{**given, **fields}))


def request(instance: str | None, state: str = "active") -> dict[str, Any]:
    more = {"InstanceId": instance} if instance else {}
    kind = {"LaunchSpecification": {"InstanceType": "g5.xlarge"}}
    return {"SpotInstanceRequestId": "sir-1", "State": state, "Tags": tags(), **kind, **more}


def replacement(aws: FakeAccount, state: str = "active", **tag: str) -> dict[str, Any]:
    """Make i-new, which EC2 launched for a request of gpujob; return the request."""
    aws.instance("i-new", volume="vol-new")
    aws.instances["i-new"].update(Tags=[], InstanceLifecycle="spot", SpotInstanceRequestId="sir-1")
    aws.volume("vol-new", "in-use", 100, on="i-new")
    aws.volumes["vol-new"]["Tags"] = []
    made = {**request("i-new", state), "Tags": tags(**tag)}
    aws.others["SpotInstanceRequests"] = [made]
    return made


def test_every_command_lists_the_same_resources_with_their_price(client: Client, aws: FakeAccount) -> None:
    record(client)
    aws.instance("i-1")
    aws.instance("i-bob", user="bob@desk", expires=FUTURE)
    aws.volume("vol-1", "in-use", 100, on="i-bob")
    aws.volume("vol-2", "available", 50, user="bob@desk", expires=PAST)
    aws.volume("vol-3", "in-use", 50, on="i-untagged")
    aws.others["SpotInstanceRequests"] = [request("i-untagged")]
    listed = [run(client, *words, "--json").json["resources"] for words in COMMANDS]
    assert {one["id"] for one in listed[0]} == {"i-bob", "vol-2", "vol-3", "sir-1"}
    assert listed[0] == listed[1] == listed[2]
    assert all(one["usd_per_month"] for one in listed[0])
    bob = next(one for one in listed[0] if one["id"] == "i-bob")
    assert bob["usd_per_month"] == pytest.approx((1.006 + 0.005) * 730 + 8, abs=0.01)
    for words in (*COMMANDS, ("hosts", "orphans")):
        text = run(client, *words).out
        assert all(id_ in text for id_ in ("i-bob", "vol-2", "sir-1")), words


def test_status_searches_ec2_once_an_hour(client: Client, aws: FakeAccount) -> None:
    for at, searches in ((NOW, 1), (NOW + 60, 1), (NOW + 3700, 2)):
        run(client, "status", at=at)
        assert aws.calls.count("describe_security_groups") == searches


def test_a_search_that_fails_is_a_warning_and_is_repeated_later(client: Client, aws: FakeAccount) -> None:
    aws.errors["describe_volumes"] = "AuthFailure"
    for at, searches in ((NOW, 1), (NOW + 60, 1), (NOW + 601, 2)):
        result = run(client, "status", at=at)
        assert (result.code, aws.calls.count("describe_volumes")) == (0, searches), result.err
    assert "EC2 could not be searched: EC2 refused describe_volumes" in result.err
    assert run(client, "cost").code == 0
    assert run(client, "hosts", "list").code == 4


def test_a_volume_that_an_ended_instance_left_is_in_status(client: Client, aws: FakeAccount) -> None:
    aws.volume("vol-1")
    record(client, state="terminated", ended=NOW - 60, volume="vol-1", volume_gb=100)
    (host,) = run(client, "status", "--json").json["hosts"]
    assert (host["instance"]["volume"], host["instance"]["volume_usd_per_month"]) == ("vol-1", 8.0)


def test_the_spot_request_of_an_ended_instance_is_cancelled(client: Client, aws: FakeAccount) -> None:
    """Someone terminated it in the console, so EC2 launches another instance for its request."""
    aws.instance("i-1", state="terminated")
    record(client, spot=True, spot_request="sir-1")
    aws.others["SpotInstanceRequests"] = [request("i-new")]
    result = run(client, "hosts", "list")
    assert "sir-1 is cancelled" in result.err
    assert "cancel_spot_instance_requests" in aws.calls


def test_an_instance_launched_in_place_of_an_ended_one_is_ended(client: Client, aws: FakeAccount) -> None:
    aws.instance("i-1", state="terminated")
    record(client, spot=True, spot_request="sir-1")
    replacement(aws)
    aws.errors["terminate_instances"] = "UnauthorizedOperation"
    refused = run(client, "hosts", "list")
    assert "the termination of i-new is not done yet" in refused.err
    aws.errors.clear()
    aws.others.clear()
    run(client, "status")
    assert aws.instances["i-new"]["State"]["Name"] in ("shutting-down", "terminated")


def test_an_instance_without_tags_that_ec2_launched_again_has_a_price(
    client: Client, aws: FakeAccount
) -> None:
    replacement(aws, user="bob@desk", job="faces", expires=FUTURE)
    for words in COMMANDS:
        (row,) = run(client, *words, "--json").json["resources"]
        assert (row["kind"], row["id"], row["user"], row["job"]) == ("instance", "i-new", "bob@desk", "faces")
        assert row["usd_per_month"] == pytest.approx((1.006 + 0.005) * 730 + 8, abs=0.01)
        assert "EC2 launched it for sir-1" in row["why"]


def test_an_instance_that_ec2_launched_again_ends_with_its_volume(client: Client, aws: FakeAccount) -> None:
    ctx = client.context()
    own = {"user": ctx.who, "client": Account(ctx).records.client_id(ctx), "expires": FUTURE}
    made = replacement(aws, **own)
    aws.errors["terminate_instances"] = "UnauthorizedOperation"
    refused = run(client, "hosts", "orphans", "--end", "--yes")
    assert (refused.code, "the termination of i-new is not done yet" in refused.err) == (1, True)
    made["State"] = "cancelled"
    assert "i-new" in run(client, "hosts", "list").out  # until it has ended
    aws.errors.clear()
    aws.calls.clear()
    run(client, "hosts", "orphans", "--end", "--yes")
    order = ("cancel_spot_instance_requests", "modify_instance_attribute", "terminate_instances")
    assert tuple(one for one in aws.calls if one in order)[:3] == order
    assert (aws.instances["i-new"]["State"]["Name"], aws.volumes) == ("terminated", {})


def test_an_instance_in_the_security_group_is_found_without_its_request(
    client: Client, aws: FakeAccount
) -> None:
    replacement(aws)
    aws.instance("i-foreign")
    aws.instances["i-foreign"]["Tags"] = []  # on demand: somebody put it into gpujob's group
    cards = [{"Attachment": {"InstanceId": id_}, "Groups": [{"GroupId": "sg-1"}]} for id_ in aws.instances]
    groups = [{"GroupId": "sg-1", "Tags": tags(user=client.context().who)}]
    aws.others = {
        "SecurityGroups": groups,
        "NetworkInterfaces": [{**one, "NetworkInterfaceId": "eni-1"} for one in cards],
    }
    (row,) = run(client, "hosts", "list", "--json").json["resources"]
    assert (row["id"], "EC2 launched it for sir-1" in row["why"]) == ("i-new", True)
    result = run(client, "hosts", "orphans", "--end", "--yes")
    assert "i-new is kept: it has no deadline in its tags" in result.err


def test_a_volume_that_another_instance_has_is_counted_once(client: Client, aws: FakeAccount) -> None:
    record(client, state="terminated", ended=NOW - 3600, volume="vol-1", volume_gb=100)
    record(client, id="i-2", volume="vol-1", volume_to_attach="vol-1", volume_gb=100)
    aws.instance("i-2", volume="vol-1")
    aws.volume("vol-1", "in-use", on="i-2")
    run(client, "hosts", "list")
    records = Account(client.context()).records
    assert (records.get("i-1").volume, records.get("i-2").volume) == (None, "vol-1")


def test_the_disks_of_an_instance_that_lists_lack_yet_are_counted_once(
    client: Client, aws: FakeAccount
) -> None:
    record(client, volume="vol-1", volume_gb=100)
    aws.instances.clear()
    aws.instance("i-1", volume="vol-1")
    aws.instances["i-1"]["Tags"] = []  # as if EC2 did not show it in lists
    for disk in ("vol-0", "vol-1"):
        aws.volume(disk, "in-use", on="i-1")
    listed = run(client, "hosts", "list", "--json").json
    assert ([one["label"] for one in listed["instances"]], listed["resources"]) == (["ec2://i-1"], [])


def test_an_instance_of_a_launch_that_goes_on_gets_no_second_record(client: Client, aws: FakeAccount) -> None:
    ctx = client.context()
    account = Account(ctx)
    aws.instance("i-1", client=account.records.client_id(ctx), attempt="a1", expires=FUTURE)
    path = client.state_dir / "launches" / "a1.json"
    path.parent.mkdir(parents=True)
    path.write_text(
        '{"v": 2, "id": "a1", "created": 1, "user_data": "", "first_host_key": "", "spec": {"types": [], '
        '"regions": [], "spot": false, "deadline": 1, "job": "j", "owner": "o"}, "request": {"candidate": '
        '{"region": "us-east-1", "zone": "a", "type": "g5.xlarge", "spot": false}, "parameters": {}, "sent": '
        f"{NOW}}}}}"
    )
    assert account.records.attempts()
    survey.survey(account, "us-east-1")
    assert account.records.find("i-1") is None


def test_an_instance_stopped_before_it_was_found_has_run_until_then(client: Client, aws: FakeAccount) -> None:
    aws.instance("i-1", state="stopped", user=client.context().who, expires=str(1000 + 7200))
    aws.instances["i-1"]["StateTransitionReason"] = "User initiated (1970-01-01 01:16:40 GMT)"
    (row,) = run(client, "hosts", "list", "--json").json["instances"]
    assert row["cost_usd"] == pytest.approx(1.011, abs=0.01)


def test_a_record_of_an_instance_that_only_seemed_to_end_follows_it(client: Client, aws: FakeAccount) -> None:
    aws.instance("i-1", user=client.context().who, expires=FUTURE)
    ended = {"checked": NOW - 3600, "ended": NOW - 3600, "running_seconds": 3600.0, "usd_per_hour": 1.0}
    record(client, state="terminated", **ended)
    listed = run(client, "hosts", "list", "--json").json
    assert ([one["id"] for one in listed["instances"]], listed["resources"]) == (["i-1"], [])
    again = Account(client.context()).records.get("i-1")
    assert (again.state, again.ended, again.running_seconds) == ("running", None, 7200.0)


def test_instances_that_ec2_does_not_show_are_waited_for_together(client: Client, aws: FakeAccount) -> None:
    """One answer without an instance proves nothing; several answers over some seconds do."""
    clock = [NOW]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    for number in range(9):
        record(client, id=f"i-{number}", account="1")
    listed = client.run("hosts", "list", now=lambda: clock[0], sleep=sleep)
    assert listed.code == 0, listed.err
    assert sum(UNSEEN_PAUSES) <= clock[0] - NOW < 2 * sum(UNSEEN_PAUSES)
    assert {one.state for one in Account(client.context()).records.all()} == {"terminated"}


def test_a_job_in_a_tag_adds_nothing_to_the_configuration_of_ssh(client: Client, aws: FakeAccount) -> None:
    """Any user of the account may write the tag."""
    job = "x *\n  ProxyCommand touch /tmp/x"
    aws.instance("i-1", user=client.context().who, job=job, expires=FUTURE)
    aws.instances["i-1"]["PublicIpAddress"] = "203.0.113.9"
    assert run(client, "hosts", "list").code == 0
    assert Account(client.context()).records.get("i-1").job == ""
    record(client, id="i-2", address="203.0.113.10", job=job)
    lines = run(client, "hosts", "ssh-config").out.splitlines()
    hosts = [line for line in lines if line.startswith("Host ")]
    assert sorted(hosts) == ["Host gpujob-i-1 i-1", "Host gpujob-i-2 i-2"]
    assert not any("ProxyCommand" in line for line in lines)
