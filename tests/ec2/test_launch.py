"""Launching and terminating an instance in an empty account, with plain machines."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from orchestrator.instances import launch, lifecycle
from orchestrator.instances.cloud import Account, Cloud
from orchestrator.instances.instance import parse_tags
from orchestrator.instances.spec import LaunchSpec
from orchestrator.targets.ssh import hostkeys
from tests.ec2 import user
from tests.ec2.test_rig import aws
from tests.ec2.user import UP
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client, Result

NO_GROUPS = """<DescribeSecurityGroupsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
<securityGroupInfo/></DescribeSecurityGroupsResponse>"""


def up(client: Client, *words: str, **changes: Any) -> Result:
    return user.run(client, *UP, *words, **changes)


class Cut(BaseException):
    """Raised to abort a command at a chosen point."""


def _cut(seconds: float) -> None:
    raise Cut


def left(client: Client, *words: str) -> None:
    """Abort `hosts up` at its first wait, when the instance is launched."""
    with pytest.raises(Cut):
        raise AssertionError(up(client, *words, sleep=_cut).err)


def rules() -> list[str]:
    """Return every address range that a security group of the region allows."""
    entries = aws().describe_security_group_rules()["SecurityGroupRules"]
    return [
        f"{rule['CidrIpv4']}:{rule['FromPort']}"
        for rule in entries
        if not rule["IsEgress"] and "CidrIpv4" in rule
    ]


def places(ec2: FakeEC2) -> list[str | None]:
    return [call["zone"] for call in ec2.calls("RunInstances")]


def tokens(ec2: FakeEC2) -> list[str]:
    return [call["parameters"]["ClientToken"] for call in ec2.calls("RunInstances")]


def test_no_capacity_and_a_lost_answer_make_one_tagged_instance(ec2: FakeEC2, client: Client) -> None:
    ec2.inject("RunInstances", "InsufficientInstanceCapacity", az="us-east-1a")
    ec2.inject("RunInstances", after=True, az="us-east-1b")
    result = up(client)
    assert result.code == 0, result.err
    assert "g5.xlarge on-demand in us-east-1a: InsufficientInstanceCapacity" in result.err
    assert places(ec2) == ["us-east-1a", "us-east-1b", "us-east-1b"]
    first, second, third = tokens(ec2)
    assert first != second == third
    (instance,) = ec2.states()
    assert result.out == f"ec2://{instance}\n"
    assert user.store(client).attempts() == []
    _tagged_from_the_first_call(ec2, instance, user.only(client).launch)
    assert aws().describe_key_pairs()["KeyPairs"] == []
    assert rules() == ["198.51.100.7/32:22"]

    down = user.run(client, "hosts", "down", f"ec2://{instance}", "--yes")
    assert down.code == 0, down.err
    assert ec2.states() == {instance: "terminated"}
    assert ec2.leftovers() == []
    assert hostkeys.own_file(client.context()).read_text() == ""


def _tagged_from_the_first_call(ec2: FakeEC2, instance: str, attempt: str) -> None:
    """Check that everything is tagged at creation and no later call adds a tag."""
    assert ec2.calls("CreateTags") == []
    described = aws().describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    disk = described["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    volume = aws().describe_volumes(VolumeIds=[disk])["Volumes"][0]
    cards = aws().describe_network_interfaces()["NetworkInterfaces"]
    for tags in (described["Tags"], volume["Tags"], *(card["TagSet"] for card in cards)):
        expected = parse_tags(tags)
        assert (expected["gpujob:managed"], expected["gpujob:attempt"]) == ("1", attempt)
        assert expected["gpujob:job"] == "shared"
    assert (volume["Encrypted"], volume["VolumeType"]) == (True, "gp3")
    assert volume["Size"] >= 35
    assert described["MetadataOptions"]["HttpTokens"] == "required"
    assert described["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert "KeyName" not in described


def test_a_root_disk_is_at_least_as_large_as_the_image(ec2: FakeEC2, client: Client) -> None:
    ec2.set(machines=False)
    left(client, "--disk-gb", "8")
    assert [volume["Size"] for volume in aws().describe_volumes()["Volumes"]] == [35]
    assert user.only(client).disk_gb == 35


@pytest.mark.parametrize(
    ("code", "words", "quota"),
    [
        ("VcpuLimitExceeded", (), "L-DB2E81BA"),
        ("MaxSpotInstanceCountExceeded", ("--spot",), "L-3819A6DF"),
    ],
)
def test_a_quota_is_recognised_by_its_code_and_not_tried_twice(
    ec2: FakeEC2, client: Client, code: str, words: tuple[str, ...], quota: str
) -> None:
    ec2.inject("RunInstances", code, times=99)
    result = up(client, *words, "--type", "g6.xlarge")
    assert result.code == 1
    assert f"the quota {quota}" in result.err
    assert f"--quota-code {quota} --region us-east-1" in result.err
    assert len(places(ec2)) == 1
    assert user.store(client).attempts() == []


def test_without_capacity_every_zone_is_tried_and_named(ec2: FakeEC2, client: Client) -> None:
    ec2.inject("RunInstances", "InsufficientInstanceCapacity", times=99)
    result = up(client, "--region", "us-east-1", "--region", "us-west-2")
    assert (result.code, "no capacity for g5.xlarge" in result.err) == (1, True)
    assert len(set(tokens(ec2))) == len(places(ec2)) >= 6
    assert {str(place)[:-1] for place in places(ec2)} == {"us-east-1", "us-west-2"}
    for place in places(ec2):
        assert f"in {place}: InsufficientInstanceCapacity" in result.err
    assert (user.store(client).attempts(), ec2.states()) == ([], {})


@pytest.mark.parametrize("action", ["DescribeVpcs", "DescribeSubnets", "RunInstances"])
def test_a_missing_permission_is_exit_4_and_names_the_policy(
    ec2: FakeEC2, client: Client, action: str
) -> None:
    message = "You are not authorized. Encoded authorization failure message: 4FS0QpJd8v"
    ec2.inject(action, "UnauthorizedOperation", message=message, status=403)
    result = up(client)
    assert result.code == 4
    assert "gpujob itself failed" not in result.err
    assert "docs/iam.md" in result.err
    assert "4FS0QpJd8v" not in result.err


def test_a_token_used_for_another_request_causes_no_third_request(ec2: FakeEC2, client: Client) -> None:
    ec2.inject("RunInstances", "IdempotentParameterMismatch")
    result = up(client)
    assert (result.code, "gpujob hosts orphans" in result.err, len(places(ec2))) == (1, True, 1)


def test_an_instance_that_ended_before_its_answer_is_launched_again(ec2: FakeEC2, client: Client) -> None:
    ec2.inject("RunInstances", after=True, times=6)
    assert up(client).code == 5
    (instance,) = ec2.states()
    aws().terminate_instances(InstanceIds=[instance])
    ec2.until(lambda: ec2.states()[instance] == "terminated")
    result = up(client)
    assert result.code == 0, result.err
    assert set(places(ec2)) == {"us-east-1a"}
    assert sorted(ec2.states().values()) == ["running", "terminated"]
    assert user.store(client).attempts() == []


def test_an_instance_that_ec2_does_not_show_yet_is_waited_for(ec2: FakeEC2, client: Client) -> None:
    ec2.set(hidden=0.6)
    result = up(client)
    assert result.code == 0, result.err
    assert list(ec2.states().values()) == ["running"]


def test_a_launch_repeats_calls_on_resources_that_ec2_does_not_know_yet(ec2: FakeEC2, client: Client) -> None:
    ec2.set(hidden_calls=9, stale=0.3)
    assert up(client).code == 0
    instance = user.only(client)
    assert len(ec2.calls("AuthorizeSecurityGroupIngress")) > 1
    aws().stop_instances(InstanceIds=[instance.id])
    ec2.until(lambda: ec2.states()[instance.id] == "stopped")
    result = up(client)  # a started instance is still reported stopped
    assert result.code == 0, result.err
    assert user.run(client, "hosts", "down", instance.label, "--yes").code == 0
    assert ec2.leftovers() == []


def test_a_group_that_exists_and_is_not_shown_yet_is_waited_for(ec2: FakeEC2, client: Client) -> None:
    """As after a command that was killed once it had created the group."""
    ec2.set(machines=False, hidden_calls=0)
    left(client)
    aws().terminate_instances(InstanceIds=[user.only(client).id])
    shutil.rmtree(client.state_dir)
    ec2.inject("DescribeSecurityGroups", body=NO_GROUPS, status=200, times=3)
    left(client)
    assert len(ec2.calls("CreateSecurityGroup")) == 2


def test_a_region_that_a_policy_denies_is_named_and_skipped(ec2: FakeEC2, client: Client) -> None:
    ec2.set(machines=False)
    ec2.inject("RunInstances", "UnauthorizedOperation", status=403, region="us-east-1", times=9)
    with pytest.raises(Cut):
        up(client, "--region", "us-east-1", "--region", "us-west-2", sleep=_cut_when_launched(client))
    assert user.only(client).region == "us-west-2"
    assert user.store(client).attempts() == []


def _cut_when_launched(client: Client) -> Any:
    def sleep(seconds: float) -> None:
        if user.store(client).all():
            raise Cut

    return sleep


def test_a_launch_uses_the_network_key_and_tags_that_a_job_names(ec2: FakeEC2, client: Client) -> None:
    """As in an account without a default VPC, whose policy requires a tag."""
    ec2.set(machines=False)
    for subnet in aws().describe_subnets()["Subnets"]:
        aws().delete_subnet(SubnetId=subnet["SubnetId"])
    (vpc,) = [one["VpcId"] for one in aws().describe_vpcs()["Vpcs"]]
    made = aws().create_subnet(VpcId=vpc, CidrBlock="172.31.0.0/20", AvailabilityZone="us-east-1c")
    subnet = made["Subnet"]["SubnetId"]
    group = aws().create_security_group(GroupName="theirs", Description="theirs", VpcId=vpc)["GroupId"]
    names = {"subnet": subnet, "security_group": group, "extra_tags": {"cost-center": "42"}}
    wanted = LaunchSpec(
        types=("g5.xlarge",),
        regions=("us-east-1",),
        spot=False,
        deadline=2e9,
        job="j",
        owner="me@here",
        kms_key="arn:aws:kms:us-east-1:1:key/k",
        private_ip=True,
        **names,
    )
    account = Account(client.context(sleep=lambda seconds: None))
    (instance,) = launch.resume(account, launch.begin(account, wanted, "", "ssh-ed25519 AAAA", None))
    (call,) = ec2.calls("RunInstances")
    sent = call["parameters"]
    assert sent["NetworkInterface.1.SubnetId"] == subnet
    assert sent["NetworkInterface.1.AssociatePublicIpAddress"] == "false"
    assert sent["BlockDeviceMapping.1.Ebs.KmsKeyId"] == "arn:aws:kms:us-east-1:1:key/k"
    described = aws().describe_instances(InstanceIds=[instance.id])["Reservations"][0]["Instances"][0]
    assert parse_tags(described["Tags"])["cost-center"] == "42"
    assert (instance.zone, instance.owns_group, instance.private_ip) == ("us-east-1c", False, True)
    instance = lifecycle.refresh(account, instance)
    assert instance.address == described["PrivateIpAddress"]
    lifecycle.allow_ssh(account, instance)
    lifecycle.clean_up(account, instance)
    assert [c for c in ec2.calls() if c["by_gpujob"] and "SecurityGroup" in c["action"]] == []


def test_an_instance_that_ends_for_lack_of_capacity_is_launched_elsewhere(
    ec2: FakeEC2, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, first = Cloud._once, []

    def once(cloud: Cloud, region: str, operation: str, service: str, words: dict[str, Any]) -> Any:
        answer = real(cloud, region, operation, service, words)
        if operation == "run_instances" and not first:
            first.append(answer["Instances"][0]["InstanceId"])
            aws().terminate_instances(InstanceIds=first)
            ec2.until(lambda: ec2.states()[first[0]] == "terminated")
        for reservation in answer.get("Reservations", []):
            for one in reservation["Instances"]:
                if one["InstanceId"] in first:
                    one["StateReason"] = {"Code": "Server.InsufficientInstanceCapacity"}
        return answer

    monkeypatch.setattr(Cloud, "_once", once)
    result = up(client)
    assert result.code == 0, result.err
    assert places(ec2) == ["us-east-1a", "us-east-1b"]
    assert sorted(one.state for one in user.store(client).all()) == ["running", "terminated"]
    assert user.store(client).attempts() == []
