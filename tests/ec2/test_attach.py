"""An instance that gpujob did not launch: used like any instance, and never terminated."""

from __future__ import annotations

import json

import boto3
import pytest

from tests.ec2.test_rig import aws
from tests.rigs.ec2.fake import FakeEC2
from tests.rigs.ec2.images import PARAMETERS
from tests.rigs.keys import fingerprint, make_key, public_key
from tests.support import Client


@pytest.fixture
def client(realtime_client: Client) -> Client:
    return realtime_client


def launch_by_hand(ec2: FakeEC2, client: Client) -> str:
    """Launch an untagged instance that accepts the user's own key from this machine."""
    key = make_key(client.home / "id")
    client.write("ssh_config", f"Host *\n IdentityFile {key}\n IdentitiesOnly yes\n")
    client.env["GPUJOB_SSH_CONFIG"] = str(client.project / "ssh_config")
    cloud = boto3.client("ec2")
    group = cloud.create_security_group(GroupName="mine", Description="mine")["GroupId"]
    door = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    cloud.authorize_security_group_ingress(GroupId=group, IpPermissions=[door])
    data = "#cloud-config\n" + json.dumps({"ssh_authorized_keys": [public_key(key)]})
    made = cloud.run_instances(
        ImageId=next(iter(PARAMETERS.values())),
        InstanceType="g5.xlarge",
        MinCount=1,
        MaxCount=1,
        SecurityGroupIds=[group],
        UserData=data,
    )
    instance = str(made["Instances"][0]["InstanceId"])
    ec2.until(lambda: ec2.machines().get(instance, {}).get("on"))
    return instance


def test_a_foreign_instance_needs_its_host_key_and_is_never_terminated(ec2: FakeEC2, client: Client) -> None:
    instance = launch_by_hand(ec2, client)
    label = f"ec2://{instance}"
    ec2.until(lambda: ec2.run(instance, "test", "-e", "/run/sshd.pid")[0] == 0)
    refused = client.run("status", "--on", label)
    assert refused.code == 4, refused.err
    assert f"the host key of {label} is not known" in refused.err

    shown = fingerprint(ec2.run(instance, "cat", "/etc/ssh/ssh_host_ed25519_key.pub")[1])
    wrong = client.run("hosts", "attach", label, "--fingerprint", "SHA256:" + "A" * 43)
    assert wrong.code == 4
    attached = client.run("hosts", "attach", label, "--fingerprint", shown)
    assert attached.code == 0, attached.err
    assert client.run("status", "--on", label).code == 0

    assert json.loads((client.state_dir / "instances" / f"{instance}.json").read_text())["account"]
    down = client.run("hosts", "down", label, "--yes")
    assert down.code == 2
    assert "was not launched by gpujob" in down.err
    assert ec2.states()[instance] == "running"
    assert client.run("hosts", "orphans").code == 0


def test_a_stopped_instance_of_the_same_name_is_started_again(ec2: FakeEC2, client: Client) -> None:
    up = ("hosts", "up", "--type", "g5.xlarge", "--max-hours", "1")
    first = client.run(*up, "--yes")
    assert first.code == 0, first.err
    (instance,) = ec2.machines()
    boto3.client("ec2").stop_instances(InstanceIds=[instance])
    result = client.run(*up)  # the command waits for an instance that is still stopping
    assert result.code == 7
    assert f"ec2://{instance} (g5.xlarge) is stopped; starting it for 1 h: at most $1.02" in result.err
    again = client.run(*up, "--yes")
    assert (again.code, again.out) == (0, first.out), again.err
    assert ec2.states() == {instance: "running"}


def test_an_instance_hidden_from_these_credentials_has_not_ended(ec2: FakeEC2, client: Client) -> None:
    up = client.run("hosts", "up", "--type", "g5.xlarge", "--max-hours", "1", "--yes")
    assert up.code == 0, up.err
    (instance,) = ec2.machines()
    record = client.state_dir / "instances" / f"{instance}.json"
    content = json.loads(record.read_text())
    assert content["account"]
    aws().delete_tags(Resources=[instance], Tags=[{"Key": "gpujob:managed"}])  # no list contains it
    hidden = {"InstanceId.1": instance}
    ec2.inject("DescribeInstances", "InvalidInstanceID.NotFound", times=80, **hidden)
    for account, where in (("999999999999", "999999999999"), (None, "an unknown account")):
        record.write_text(json.dumps({**content, "account": account}))
        listed = client.run(
            "hosts", "list", sleep=lambda seconds: None, now=lambda: content["launched"] + 3600
        )
        assert listed.code == 4
        assert f"the instance is in {where}" in listed.err
        assert f"ec2://{instance}" in listed.out
        assert json.loads(record.read_text())["state"] == "running"
