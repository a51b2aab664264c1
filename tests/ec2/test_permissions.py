"""Every command works under exactly the policy of docs/iam.md; without one action it names that action."""

from __future__ import annotations

import copy
import json
from typing import Any

import boto3
import pytest
from msgspec.structs import replace

from orchestrator.instances import changes, lifecycle, region, survey
from orchestrator.instances.cloud import Account, Cloud
from orchestrator.instances.errors import AwsError
from orchestrator.instances.instance import Instance
from orchestrator.instances.inventory import Resource
from orchestrator.instances.spec import Candidate, Image, LaunchSpec, Placement, run_instances_request
from tests.ec2 import user
from tests.ec2.test_rig import IMAGE, aws
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client, Result
from tests.unit.instances.test_policy import POLICY, TEXT

SPOT = ("hosts", "up", "--spot", "--type", "g5.xlarge", "--max-hours", "2", "--yes")


class Arrived(BaseException):
    """Raised once the instance is running: it has no machine to wait for."""


def launch(client: Client) -> Result | None:
    """Run `hosts up --spot` until the instance is running; return its result if it fails before."""

    def wait(seconds: float) -> None:
        if any(one.state == "running" for one in user.store(client).all()):
            raise Arrived

    try:
        return user.run(client, *SPOT, sleep=wait)
    except Arrived:
        return None


def session(client: Client) -> str:
    """Run the commands of an instance's life; return all that they print."""
    results = [launch(client)]
    for words in (
        ("hosts", "list"),
        ("hosts", "orphans", "--region", "us-east-1"),
        ("hosts", "down", "ec2", "--discard", "--purge", "--yes"),
        ("status",),
        ("cost",),
    ):
        results.append(user.run(client, *words, sleep=lambda seconds: None))
    return "".join(f"{one.out}{one.err}" for one in results if one)


@pytest.fixture
def account(ec2: FakeEC2) -> FakeEC2:
    ec2.set(machines=False, pending=0.0, stopping=0.0, hidden_calls=0, policy=POLICY, regions=["us-east-1"])
    return ec2


def without(action: str) -> dict[str, Any]:
    """Return the policy without an action."""
    policy = copy.deepcopy(POLICY)
    for one in policy["Statement"]:
        names = [one["Action"]] if isinstance(one["Action"], str) else one["Action"]
        one["Action"] = [name for name in names if name != action]
    return policy


def test_an_instance_lives_and_ends_under_the_documented_policy(account: FakeEC2, client: Client) -> None:
    text = session(client)
    assert "not authorized" not in text
    assert set(account.states().values()) == {"terminated"}
    assert account.leftovers() == []


def test_doctor_passes_under_the_documented_policy(account: FakeEC2, client: Client) -> None:
    result = user.run(client, "doctor", "--on", "ec2", "--json")
    rows = {row["what"]: row for row in result.json["rows"]}
    assert rows["may run instances"]["verdict"] == "ok", rows
    assert rows["may create security group"]["verdict"] == "ok", rows


ACTIONS = (
    *("DescribeVpcs", "DescribeSubnets", "DescribeImages", "DescribeInstances", "DescribeSecurityGroups"),
    *("DescribeInstanceTypeOfferings", "DescribeSecurityGroupRules", "DescribeVolumes"),
    *("DescribeSpotInstanceRequests", "DescribeNetworkInterfaces", "CreateSecurityGroup", "CreateTags"),
    *("AuthorizeSecurityGroupIngress", "RunInstances", "CancelSpotInstanceRequests"),
    *("TerminateInstances", "DeleteVolume", "DeleteSecurityGroup"),
)


@pytest.mark.parametrize("action", ACTIONS)
def test_without_one_action_the_failure_names_it(
    account: FakeEC2, client: Client, trials: Any, action: str
) -> None:
    """`make test` tries every third action: each goes the same way through `Cloud`."""
    if ACTIONS.index(action) % trials(3, 1):
        pytest.skip("in `make test-full`")
    account.set(policy=without(f"ec2:{action}"))
    assert f"no policy allows ec2:{action} on" in session(client).replace("\n", " ")


def change(client: Client, action: str, instance: Instance) -> None:
    """Do what needs the action, on an instance that is stopped."""
    account = Account(client.context(sleep=lambda seconds: None))
    if action in ("ModifyInstanceAttribute", "StartInstances"):
        lifecycle.start(account, instance, "#cloud-config", instance.deadline)
    elif action == "AttachVolume":
        changes.attach_volume(account, replace(instance, volume_to_attach=instance.volume))
    elif action == "RevokeSecurityGroupIngress":
        region.allow_ssh(account, instance.region, "192.0.2.1/32", instance.security_group)
    else:
        described = aws().describe_instances(InstanceIds=[instance.id])["Reservations"][0]["Instances"][0]
        card = described["NetworkInterfaces"][0]["NetworkInterfaceId"]
        tags = [{"Key": "gpujob:managed", "Value": "1"}]
        aws().create_tags(Resources=[card], Tags=tags)
        survey.end(account, Resource(kind="interface", id=card, region=instance.region))


@pytest.mark.parametrize(
    "action",
    [
        *("ModifyInstanceAttribute", "StartInstances", "AttachVolume", "RevokeSecurityGroupIngress"),
        "DeleteNetworkInterface",
    ],
)
def test_without_an_action_on_a_stopped_instance_the_failure_names_it(
    account: FakeEC2, client: Client, action: str
) -> None:
    assert launch(client) is None
    instance = user.only(client)
    aws().stop_instances(InstanceIds=[instance.id])
    account.until(lambda: account.states()[instance.id] == "stopped")
    account.set(policy=without(f"ec2:{action}"))
    try:
        change(client, action, instance)
        text = user.run(client, "status").err  # completes the deletion, or reports why it cannot
    except AwsError as error:
        text = str(error)
    assert f"no policy allows ec2:{action} on" in text.replace("\n", " ")


def test_an_explicit_deny_is_reported_as_one(account: FakeEC2, client: Client) -> None:
    deny = {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*"}
    account.set(policy={**POLICY, "Statement": [*POLICY["Statement"], deny]})
    result = launch(client)
    assert result
    assert result.code == 4
    assert "a policy denies ec2:RunInstances on arn:aws:ec2:us-east-1:1:instance/*" in result.err


def test_a_job_may_pass_the_documented_role_and_no_other(account: FakeEC2, client: Client) -> None:
    statement = json.loads(TEXT.split("```json")[3].split("```")[0])
    account.set(policy={**POLICY, "Statement": [*POLICY["Statement"], statement]})
    placement = Placement(next(iter(region.subnets(Cloud(client.context()), "us-east-1").values())), "")
    iam = boto3.client("iam")
    for name, code in (("gpujob-training", None), ("admin", "UnauthorizedOperation")):
        iam.create_instance_profile(InstanceProfileName=name)
        launch_spec = LaunchSpec(
            types=("g5.xlarge",), regions=("us-east-1",), spot=False, deadline=2e9, job="j", owner="o",
            instance_profile=name,
        )  # fmt: skip
        candidate = Candidate("us-east-1", "us-east-1a", "g5.xlarge", False)
        image = Image(IMAGE, "", "/dev/sda1", 200)
        request = run_instances_request(launch_spec, candidate, image, placement, "", name, "1")
        del request["NetworkInterfaces"][0]["Groups"]
        try:
            Cloud(client.context()).call("us-east-1", "run_instances", **request)
            refused = None
        except AwsError as error:
            refused, message = error.code, error.message
        assert refused == code
    assert "no policy allows iam:PassRole on arn:aws:iam::123456789012:role/admin" in message


def test_an_instance_that_ec2_launched_again_needs_one_more_statement(
    account: FakeEC2, client: Client
) -> None:
    assert launch(client) is None
    former = user.only(client).id
    aws().terminate_instances(InstanceIds=[former])  # in the console: its request is not cancelled
    account.until(lambda: len(account.states()) == 2 and account.states()[former] == "terminated")
    (replacement,) = set(account.states()) - {former}
    listed = user.run(client, "hosts", "list", "--json")
    (row,) = listed.json["resources"]
    assert (row["id"], row["usd_per_month"] > 0) == (replacement, True)
    assert "no policy allows ec2:ModifyInstanceAttribute on" in listed.err.replace("\n", " ")
    assert [one["state"] for one in account.spot_requests()] == ["cancelled"]
    assert replacement in user.run(client, "hosts", "list").out  # also once the request is cancelled
    statement = json.loads(TEXT.split("```json")[2].split("```")[0])
    account.set(policy={**POLICY, "Statement": [*POLICY["Statement"], statement]})
    user.run(client, "hosts", "list")
    account.until(lambda: set(account.states().values()) == {"terminated"})
    (left,) = aws().describe_volumes()["Volumes"]
    assert left["VolumeId"] == user.store(client).get(former).volume
    foreign = aws().run_instances(ImageId=IMAGE, InstanceType="g5.xlarge", MinCount=1, MaxCount=1)
    ids = [foreign["Instances"][0]["InstanceId"]]
    with pytest.raises(Exception, match="UnauthorizedOperation"):
        Cloud(client.context()).call("us-east-1", "terminate_instances", InstanceIds=ids)


def test_an_instance_without_the_tag_of_gpujob_may_not_be_changed(account: FakeEC2, client: Client) -> None:
    request = {"ImageId": IMAGE, "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1}
    foreign = aws().run_instances(**request)["Instances"][0]["InstanceId"]
    with pytest.raises(Exception, match="UnauthorizedOperation"):
        Cloud(client.context()).call("us-east-1", "terminate_instances", InstanceIds=[foreign])
    assert account.states()[foreign] != "terminated"
