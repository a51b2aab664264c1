"""Jobs over two instances, for the tests of what becomes of them."""

from __future__ import annotations

import sys

import pytest

from orchestrator.instances.instance import Instance
from tests.ec2 import user
from tests.ec2.test_rig import aws
from tests.host.test_groups import TOGETHER
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client, Result

WORDS = ("deploy", "job", "--on", "ec2", "--yes", "--max-hours", "2")


def prepared(client: Client, ec2: FakeEC2, monkeypatch: pytest.MonkeyPatch) -> Client:
    user.share_clients(monkeypatch, ec2)
    user.knock_briefly(monkeypatch)
    return client


def job(client: Client, **ec2: object) -> None:
    resources = {"gpus": 0, "nodes": 2, "ec2": {"types": ["g5.xlarge"], **ec2}}
    env, limits = {"python": sys.executable}, {"grace_seconds": 5}
    client.job(TOGETHER, resources=resources, env=env, limits=limits)


def members(client: Client) -> list[Instance]:
    return [one for one in user.store(client).all() if not one.has_ended]


def succeed(result: Result) -> Result:
    assert result.code == 0, result.err + result.out
    return result


def labels(client: Client) -> str:
    return ",".join(sorted(one.label for one in members(client)))


def rules(group: str | None) -> list[tuple[str, int, int]]:
    """Return who may reach which ports of a security group: ranges, and the ids of groups."""
    (described,) = aws().describe_security_groups(GroupIds=[group])["SecurityGroups"]
    found = []
    for rule in described["IpPermissions"]:
        sources = [one["CidrIp"] for one in rule["IpRanges"]] + [
            one["GroupId"] for one in rule["UserIdGroupPairs"]
        ]
        found += [(source, rule["FromPort"], rule["ToPort"]) for source in sources]
    return sorted(found)
