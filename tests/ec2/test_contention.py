"""Several clients and a full EC2: one instance of a job is kept, and capacity can be waited for."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.instances.cloud import Cloud
from tests.ec2 import user
from tests.ec2.test_rig import IMAGE, OURS, aws
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client

CODE = "InsufficientInstanceCapacity"


def launch_of_bob() -> str:
    """Launch an instance as another client does for its job `shared`."""
    tags = {
        "gpujob:managed": "1",
        "gpujob:job": "shared",
        "gpujob:user": "bob@desk",
        "gpujob:client": "b" * 16,
    }
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    specifications = [{"ResourceType": kind, "Tags": listed} for kind in OURS]
    request = {"ImageId": IMAGE, "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1}
    made = aws().run_instances(**request, TagSpecifications=specifications)
    return str(made["Instances"][0]["InstanceId"])


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_launches_at_once_the_earlier_instance_is_kept(
    ec2: FakeEC2, client: Client, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    real, theirs = Cloud._once, list[str]()

    def once(cloud: Cloud, region: str, operation: str, *more: Any) -> Any:
        if operation == "run_instances" and not is_first:
            theirs.append(launch_of_bob())
        answer = real(cloud, region, operation, *more)
        if operation == "run_instances" and is_first:
            theirs.append(launch_of_bob())
        return answer

    monkeypatch.setattr(Cloud, "_once", once)
    result = user.run(client, *user.UP)
    own = user.only(client)
    if not is_first and own.launched > _launch_time(theirs[0]):
        assert (result.code, "bob@desk launched" in result.err) == (1, True), result.err
        assert f"{own.label} is terminated" in result.err
        assert ec2.states() == {theirs[0]: "running", own.id: "terminated"}
    else:  # EC2 counts in seconds: within one, the lower id is first
        kept = min((_launch_time(theirs[0]), theirs[0]), (own.launched, own.id))[1]
        assert result.code == (0 if kept == own.id else 1), result.err
        assert ec2.states()[kept] == "running"


def _launch_time(instance: str) -> float:
    found = aws().describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return float(found["LaunchTime"].timestamp())


def test_an_older_instance_of_another_user_is_named_and_both_are_kept(ec2: FakeEC2, client: Client) -> None:
    theirs = launch_of_bob()
    result = user.run(client, *user.UP)
    assert result.code == 0, result.err
    assert f"ec2://{theirs} of bob@desk was launched for a job with the same name" in result.err
    assert list(ec2.states().values()) == ["running", "running"]


def test_capacity_is_waited_for_at_the_price_that_was_confirmed(ec2: FakeEC2, client: Client) -> None:
    ec2.set(hidden_calls=0)  # the simulation launches by a clock that is behind that of the client
    ec2.inject("RunInstances", CODE, times=11)  # two rounds of five zones
    result = user.run(client, *user.UP, "--wait-for-capacity", "2")
    assert result.code == 0, result.err
    assert "waits up to 2 h for capacity, at this price" in result.err
    assert result.err.count("no capacity for g5.xlarge; trying again in") == 2
    assert result.err.count("launching an instance:") == 1
    assert user.store(client).attempts() == []


def test_waiting_for_capacity_ends_after_its_hours(ec2: FakeEC2, client: Client) -> None:
    ec2.set(machines=False)
    ec2.inject("RunInstances", CODE, times=99)
    clock = user.Clock()
    start = clock.now()
    words = (*user.UP, "--wait-for-capacity", "0.05")
    result = user.run(client, *words, now=clock.now, sleep=clock.sleep)
    assert (result.code, "no capacity for g5.xlarge" in result.err) == (1, True)
    assert clock.now() - start == pytest.approx(180, abs=60)
    assert (ec2.states(), user.store(client).attempts()) == ({}, [])
    refused = user.run(client, *user.UP, "--wait-for-capacity", "0")
    assert (refused.code, "--wait-for-capacity" in refused.err) == (2, True)


def test_a_used_up_quota_is_not_waited_for(ec2: FakeEC2, client: Client) -> None:
    ec2.set(machines=False)
    ec2.inject("RunInstances", "VcpuLimitExceeded", times=99)
    result = user.run(client, *user.UP, "--wait-for-capacity", "2")
    assert (result.code, "is used up" in result.err) == (1, True)
    assert len(ec2.calls("RunInstances")) == 1
