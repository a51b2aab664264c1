"""The simulated EC2 behaves like EC2 where moto alone does not."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError
from botocore.parsers import ResponseParserError

from tests.rigs.ec2.fake import REPOSITORY, FakeEC2
from tests.rigs.ec2.fleet import Fleet
from tests.rigs.ec2.images import PARAMETERS, ROOT_GB
from tests.rigs.ec2.metadata import TOKEN
from tests.rigs.patience import PATIENCE, wait_until

IMAGE = next(iter(PARAMETERS.values()))
TAGS = [{"Key": "gpujob:managed", "Value": "1"}]
OURS = ("instance", "volume", "network-interface")


def aws(service: str = "ec2", region: str = "us-east-1") -> Any:
    return boto3.client(service, region_name=region, config=Config(retries={"total_max_attempts": 1}))


def launch(token: str = "", zone: str = "us-east-1a", **more: Any) -> str:
    options = {"ClientToken": token} if token else {}
    response = aws().run_instances(
        ImageId=IMAGE,
        InstanceType="g5.xlarge",
        MinCount=1,
        MaxCount=1,
        Placement={"AvailabilityZone": zone},
        TagSpecifications=[{"ResourceType": kind, "Tags": TAGS} for kind in OURS],
        **options,
        **more,
    )
    return str(response["Instances"][0]["InstanceId"])


def described(instance: str) -> dict[str, Any]:
    return aws().describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]  # type: ignore[no-any-return]


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def banner(ip: str) -> bytes:
    try:
        with socket.create_connection((ip, 22), timeout=0.3) as line:
            return line.recv(8)
    except OSError:
        return b""


def admit(instance: str, cidr: str = "198.51.100.7/32") -> None:
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": cidr}]}
    group = described(instance)["NetworkInterfaces"][0]["Groups"][0]["GroupId"]
    try:
        aws().authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    except ClientError as error:  # all instances launched without a security group share one
        if error.response["Error"]["Code"] != "InvalidPermission.Duplicate":
            raise


def test_an_injected_error_affects_its_zone_the_given_number_of_times(ec2: FakeEC2) -> None:
    ec2.inject("RunInstances", "InsufficientInstanceCapacity", az="us-east-1a", times=2)
    for _ in range(2):
        with pytest.raises(ClientError) as error:
            launch()
        assert code_of(error) == ("InsufficientInstanceCapacity", 500)
    assert launch(zone="us-east-1b")
    assert launch()


def test_a_repeated_token_makes_one_instance_if_an_answer_was_lost(ec2: FakeEC2) -> None:
    ec2.inject("RunInstances", after=True)
    with pytest.raises(ConnectionClosedError):
        launch("once")
    ec2.set(hidden=60)  # also while it cannot be described yet
    first = launch("once")
    assert launch("once") == first
    assert list(ec2.states()) == [first]


def test_a_token_is_refused_with_other_parameters_and_after_the_end(ec2: FakeEC2) -> None:
    first = launch("once")
    with pytest.raises(ClientError) as error:
        launch("once", EbsOptimized=True)
    assert code_of(error) == ("IdempotentParameterMismatch", 400)
    aws().terminate_instances(InstanceIds=[first])
    ec2.until(lambda: ec2.states()[first] == "terminated")
    with pytest.raises(ClientError) as error:
        launch("once")
    assert code_of(error) == ("IdempotentInstanceTerminated", 400)


def test_an_answer_that_is_not_xml_is_no_client_error(ec2: FakeEC2) -> None:
    ec2.inject("DescribeInstances", body="upstream connect error", status=502)
    with pytest.raises(ResponseParserError) as error:
        aws().describe_instances()
    assert not isinstance(error.value, ClientError | BotoCoreError)


def test_a_new_instance_is_unknown_for_a_while(ec2: FakeEC2) -> None:
    ec2.set(hidden=60)
    instance = launch()
    with pytest.raises(ClientError) as error:
        described(instance)
    assert code_of(error)[0] == "InvalidInstanceID.NotFound"
    assert aws().describe_instances()["Reservations"] == []
    ec2.set(hidden=0)
    assert described(instance)["InstanceId"] == instance


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"UserData": "x" * 16385}, "InvalidParameterValue"),
        ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": ROOT_GB - 1}}]},
            "InvalidBlockDeviceMapping",
        ),
    ],
)
def test_requests_that_ec2_rejects_are_rejected(ec2: FakeEC2, more: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as error:
        launch(**more)
    assert code_of(error) == (code, 400)
    assert ec2.states() == {}


def test_network_interfaces_are_tagged_and_termination_leaves_nothing(ec2: FakeEC2) -> None:
    instance = launch()
    assert sorted(name.partition("-")[0] for name in ec2.leftovers()) == ["eni", "i", "vol"]
    aws().terminate_instances(InstanceIds=[instance])
    ec2.until(lambda: ec2.states()[instance] == "terminated")
    assert ec2.leftovers() == []


def test_prices_and_quotas_are_denied_as_to_a_user_without_rights(ec2: FakeEC2) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        aws("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-DB2E81BA")
    with pytest.raises(ClientError, match="AccessDenied"):
        aws("pricing").describe_services()


def test_termination_protection_and_user_data_changes_work_as_in_ec2(
    ec2: FakeEC2,
) -> None:
    instance = launch("protected", DisableApiTermination=True, UserData="#cloud-config\n{}\n")
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        aws().terminate_instances(InstanceIds=[instance])
    ec2.until(lambda: ec2.machines()[instance]["on"])
    options = {"InstanceId": instance, "UserData": {"Value": b"#cloud-config\nbootcmd: ['touch /new']\n"}}
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        aws().modify_instance_attribute(**options)
    aws().stop_instances(InstanceIds=[instance])
    ec2.until(lambda: ec2.states()[instance] == "stopped")
    aws().modify_instance_attribute(**options)
    aws().start_instances(InstanceIds=[instance])
    ec2.until(lambda: ec2.states()[instance] == "running" and ec2.machines()[instance]["on"])
    ec2.until(lambda: ec2.run(instance, "test", "-e", "/new")[0] == 0)


def test_only_allowed_addresses_reach_ssh_and_a_stop_changes_the_address(ec2: FakeEC2) -> None:
    instance = launch()
    ec2.until(lambda: ec2.machines()[instance]["on"])
    first = described(instance)["PublicIpAddress"]
    assert banner(first) == b""
    admit(instance)
    ec2.until(lambda: banner(first))
    ec2.set(caller="203.0.113.9")
    assert banner(first) == b""
    ec2.set(caller="198.51.100.7")
    ec2.isolate(instance)
    assert banner(first) == b""
    aws().stop_instances(InstanceIds=[instance])
    ec2.until(lambda: ec2.states()[instance] == "stopped")
    assert "PublicIpAddress" not in described(instance)
    aws().start_instances(InstanceIds=[instance])
    ec2.until(lambda: described(instance).get("PublicIpAddress", first) != first)


def test_a_volume_is_a_disk_that_outlives_its_instance(ec2: FakeEC2) -> None:
    volume = aws().create_volume(AvailabilityZone="us-east-1a", Size=1, VolumeType="gp3")["VolumeId"]
    device = f"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}"
    make = f"mkfs.ext4 -q {device} && mount {device} /mnt && touch /mnt/kept && umount /mnt"
    for words in (make, f"mount {device} /mnt && test -e /mnt/kept"):
        instance = launch()
        ec2.until(lambda: ec2.states()[instance] == "running")  # noqa: B023
        aws().attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
        ec2.until(lambda: ec2.run(instance, "test", "-b", device)[0] == 0)  # noqa: B023
        assert ec2.run(instance, "sh", "-c", words) == (0, "")
        aws().terminate_instances(InstanceIds=[instance])
        ec2.until(lambda: ec2.states()[instance] == "terminated")  # noqa: B023
    elsewhere = launch(zone="us-east-1b")
    ec2.until(lambda: ec2.states()[elsewhere] == "running")
    with pytest.raises(ClientError, match="ZoneMismatch"):
        aws().attach_volume(VolumeId=volume, InstanceId=elsewhere, Device="/dev/sdf")


def test_a_spot_instance_gets_an_interruption_notice(ec2: FakeEC2) -> None:
    instance = launch(InstanceMarketOptions={"MarketType": "spot"})
    ec2.until(lambda: ec2.machines()[instance]["on"])
    host = f"http://{ec2.machines()[instance]['ip'].replace('127.77', '127.78')}/latest/meta-data/"
    action = urllib.request.Request(
        host + "spot/instance-action", headers={"X-aws-ec2-metadata-token": TOKEN}
    )
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(action, timeout=PATIENCE)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(host + "instance-id", timeout=PATIENCE)
    ec2.interrupt(instance, seconds=0.5)
    with urllib.request.urlopen(action, timeout=PATIENCE) as response:
        assert json.loads(response.read())["action"] == "terminate"
    ec2.until(lambda: ec2.states()[instance] == "terminated")


def test_a_rig_killed_with_its_test_leaves_nothing(tmp_path: Path) -> None:
    code = f"""if True:
        import os, sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from tests.rigs.ec2.fake import FakeEC2
        with FakeEC2(kind="booted") as ec2:
            os.environ.update(ec2.env)
            from tests.ec2.test_rig import launch
            instance = launch()
            ec2.until(lambda: ec2.machines()[instance]["on"])
            print(ec2.machines()[instance]["ip"], ec2.slot, flush=True)
            sys.stdin.read()
    """
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        ip, slot = process.stdout.readline().decode().split()
        mark = f"gpujob_rig_{slot}"
        assert mark in tables()
        process.kill()
    wait_until(lambda: mark not in tables(), "the packet filter is removed")
    wait_until(lambda: running(f"/gpujob-rigs/{slot}/") == [], "every process of the rig has ended")
    assert banner(ip) == b""


def tables() -> str:
    return subprocess.run(
        ["/usr/sbin/nft", "list", "tables"], capture_output=True, text=True, check=True
    ).stdout


def running(mark: str) -> list[str]:
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "cmdline").read_bytes():
                processes.append(folder.name)
        except OSError:
            continue
    return processes


def test_each_booted_machine_has_a_control_group_of_its_own(booted: FakeEC2) -> None:
    first, second = (systemds_groups(booted, launch()) for _ in range(2))
    assert first.isdisjoint(second)


def systemds_groups(rig: FakeEC2, machine: str) -> set[str]:
    rig.until(lambda: rig.machines()[machine]["on"])
    cat = ("cat", "/proc/1/cgroup")
    groups = lambda: {line for line in rig.run(machine, *cat)[1].split() if "init.scope" in line}  # noqa: E731
    found: set[str] = rig.until(groups, "systemd is in its control group")
    return found


def test_a_volume_is_plugged_although_a_process_of_the_machine_has_ended() -> None:
    """While it starts, nspawn has a child that mounts the disk and ends."""
    pids, plugged = [1, 2, 3], []

    def plug(pid: int) -> None:
        if pid < 3:
            raise FileNotFoundError(f"/proc/{pid}/root")
        plugged.append(pid)

    machine = SimpleNamespace(is_on=True, inside=lambda: pids.pop(0))
    Fleet._plug(SimpleNamespace(), SimpleNamespace(machine=machine), SimpleNamespace(plug=plug))  # type: ignore[arg-type]
    assert plugged == [3]
