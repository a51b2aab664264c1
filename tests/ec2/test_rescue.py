"""Data on a stopped instance or a volume is reached when its GPU type has no capacity or quota."""

from __future__ import annotations

import sys

import pytest

from tests.ec2 import user
from tests.ec2.test_rig import aws
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client

BODY = "open('result.txt', 'w').write('kept')"


def deployed(client: Client, **ec2: object) -> str:
    resources = {"gpus": 0, "ec2": {"types": ["g5.xlarge"], **ec2}}
    client.job(BODY, outputs=["result.txt"], resources=resources, env={"python": sys.executable})
    result = user.run(client, "deploy", "job", "--on", "ec2", "--max-hours", "1", "--yes")
    assert result.code == 0, result.err
    return result.out.split()[0]


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "VcpuLimitExceeded"])
def test_a_stopped_instance_without_capacity_is_read_as_a_small_type(
    ec2: FakeEC2, client: Client, code: str
) -> None:
    up = user.run(client, *user.UP)
    assert up.code == 0, up.err
    instance = user.only(client)
    aws().stop_instances(InstanceIds=[instance.id])
    ec2.until(lambda: ec2.states()[instance.id] == "stopped")
    ec2.inject("StartInstances", code, type="g5.xlarge", times=9)
    ec2.inject("StartInstances", code, type="t3.small")
    refused = user.run(client, "hosts", "down", instance.label)
    assert refused.code == 7, refused.err
    down = user.run(client, "hosts", "down", instance.label, "--yes")
    assert down.code == 0, down.err
    assert "g5.xlarge cannot be started" in down.err
    assert "as t3.small or t3.xlarge, without GPUs, to read its disk: at most $0.38" in down.err
    assert ec2.states() == {instance.id: "terminated"}
    assert (user.only(client).type, user.only(client).gpu_type) == ("t3.xlarge", "g5.xlarge")
    assert ec2.leftovers() == []


def test_an_instance_that_was_read_as_a_small_type_trains_as_its_own(ec2: FakeEC2, client: Client) -> None:
    run = deployed(client)
    instance = user.only(client)
    aws().stop_instances(InstanceIds=[instance.id])
    ec2.until(lambda: ec2.states()[instance.id] == "stopped")
    ec2.inject("StartInstances", "InsufficientInstanceCapacity", type="g5.xlarge")
    fetched = user.run(client, "fetch", run, "--keep-instance", "--yes")
    assert fetched.code == 0, fetched.err
    assert (client.project / "fetched" / run / "outputs" / "result.txt").read_text() == "kept"
    assert user.only(client).type == "t3.small"
    again = user.run(client, "deploy", "job", "--on", "ec2", "--max-hours", "1", "--yes")
    assert again.code == 1, again.err
    assert "runs as t3.small, without GPUs, to fetch from it" in again.err
    before = user.only(client)
    assert before.earlier_usd > 0
    aws().stop_instances(InstanceIds=[instance.id])
    ec2.until(lambda: ec2.states()[instance.id] == "stopped")
    up = user.run(client, "deploy", "job", "--on", "ec2", "--name", "job", "--max-hours", "1", "--yes")
    assert up.code == 0, up.err
    after = user.only(client)
    assert (after.type, after.gpu_type, after.usd_per_hour) == ("g5.xlarge", "", 1.006)
