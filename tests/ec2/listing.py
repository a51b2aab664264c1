"""Compares what a simulated account has with what `status` shows of it: nothing unknown, nothing twice."""

from __future__ import annotations

from typing import Any

from tests.ec2 import user
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client, Result

REGIONS = ("us-east-1", "us-west-2")


def priced(status: Result) -> set[str]:
    """Return the ids of the instances that `status` shows with a price."""
    of_hosts = [host["instance"] for host in status.json["hosts"] if host["instance"]]
    known = {one["id"] for one in of_hosts if one["usd_per_hour"] > 0}
    return known | {one["id"] for one in status.json["resources"] if one["usd_per_month"]}


def listed(status: Result, ec2: FakeEC2, found: dict[str, dict[str, str]]) -> dict[str, set[str]]:
    """Return kind → ids of what exists that `status` shows with a price, or that costs nothing and is known.

    The price of an instance includes that of its disks, and its row is that of its request. Security groups
    and network interfaces cost nothing.
    """
    shown = priced(status)
    resources = [one for one in status.json["resources"] if one["usd_per_month"]]
    volumes = {one["VolumeId"] for region in REGIONS for one in _attached(region, shown)}
    requests = {str(one["id"]) for one in ec2.spot_requests() if one["instance"] in shown}
    return {
        "instance": shown & set(found["instance"]),
        "volume": volumes | {one["id"] for one in resources if one["kind"] == "volume"},
        "request": requests | {one["id"] for one in resources if one["kind"] == "request"},
        "group": {group for group, region in found["group"].items() if _is_tagged(group, region)},
        "interface": set(found["interface"]),
    }


def _attached(region: str, instances: set[str]) -> list[dict[str, Any]]:
    filters = [{"Name": "attachment.instance-id", "Values": sorted(instances)}]
    volumes: list[dict[str, Any]] = user.api(region).describe_volumes(Filters=filters)["Volumes"]
    return volumes


def _is_tagged(group: str, region: str) -> bool:
    (found,) = user.api(region).describe_security_groups(GroupIds=[group])["SecurityGroups"]
    return {"Key": "gpujob:managed", "Value": "1"} in found["Tags"]


def require_listed(ec2: FakeEC2, status: Result, at: int) -> None:
    """Check that all that the account has is shown: nothing is unknown."""
    found = ec2.existing()
    assert not found.pop("key pair"), at
    assert not found.pop("launch template"), at
    shown = listed(status, ec2, found)
    for kind, ids in found.items():
        assert set(ids) <= shown[kind], (at, kind)


def require_one_each(ec2: FakeEC2, client: Client, regions: int, at: int) -> None:
    """Check that the account has what one launch creates, and nothing twice."""
    (instance,) = user.store(client).all()
    found = ec2.existing()
    counts = {kind: len(ids) for kind, ids in found.items() if kind != "group"}
    one_each = {"instance": 1, "volume": 2 if instance.spot else 1, "interface": 1}
    none = {"request": int(instance.spot), "key pair": 0, "launch template": 0}
    assert counts == {**one_each, **none}, at
    groups = list(found["group"].values())
    assert len(groups) == len(set(groups)) <= regions, at
