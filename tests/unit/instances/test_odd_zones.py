"""What a launch and a search do about zones, subnets, regions and images that few accounts have."""

from __future__ import annotations

import io
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.instances import launch, region, spec
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.errors import AwsError
from orchestrator.instances.records import LaunchAttempt
from tests.support import new_client
from tests.unit.instances.simulated_world import HOUR
from tests.unit.instances.test_odd_accounts import UP, Start, live, refuse, started
from tests.unit.instances.test_week import week

__all__ = ["week"]


def test_a_zone_without_room_for_the_disk_is_left_for_the_next(week: Start) -> None:
    one, client = started(week)
    refuse(one, "run_instances", "InsufficientVolumeCapacity", one.clock.now + HOUR, zone="subnet-us-east-1a")
    result = one.run(client, *UP)
    assert result
    assert (result.code, [machine.zone for machine in one.aws.machines.values()]) == (0, ["us-east-1b"])


def test_capacity_that_no_zone_has_leaves_nothing_and_names_the_option(week: Start) -> None:
    one, client = started(week)
    refuse(one, "run_instances", "InsufficientInstanceCapacity", one.clock.now + HOUR)
    result = one.run(client, *UP)
    assert result
    assert (result.code, "--wait-for-capacity" in result.err, one.aws.machines) == (1, True, {})
    assert one.again(client, "hosts", "list", "--json").json["instances"] == []


def test_a_type_that_only_a_zone_without_subnet_offers_is_explained(week: Start) -> None:
    one, client = started(week)
    offered = {"InstanceTypeOfferings": [{"InstanceType": "g5.xlarge", "Location": "us-east-1f"}]}
    one.aws._describe_instance_type_offerings = lambda *_: offered  # type: ignore[method-assign]
    result = one.run(client, *UP)
    assert result
    assert (result.code, "no zone of us-east-1 with a default subnet offers it" in result.err) == (1, True)


@pytest.mark.parametrize(
    ("subnet", "says"),
    [("subnet-1", "us-east-1a is not that of subnet-1"), ("", "us-east-1a has no default subnet")],
)
def test_a_volume_in_a_zone_that_a_launch_cannot_use_is_explained(subnet: str, says: str) -> None:
    places = {"zone": "us-east-1a", "volume": "vol-1", "subnet": subnet}
    of = {"types": ("g5.xlarge",), "regions": ("us-east-1",), "job": "job", "owner": "me"}
    launch_spec = spec.LaunchSpec(spot=False, deadline=1.0, **of, **places)  # type: ignore[arg-type]
    attempt = LaunchAttempt(id="1", created=1.0, spec=launch_spec, user_data="", first_host_key="")
    error = launch._no_capacity(attempt)
    assert "volume vol-1 is in us-east-1a" in error.why
    assert says in error.why


def test_a_home_region_that_is_not_enabled_is_named(week: Start) -> None:
    one, client = started(week)
    client.env["AWS_REGION"] = "ap-east-1"
    refuse(one, "describe_regions", "AuthFailure", one.clock.now + HOUR, status=401)
    result = one.run(client, "hosts", "list")
    assert result
    assert (result.code, "in ap-east-1: AuthFailure" in result.err) == (4, True)
    assert "enable the region" in result.err


def test_a_subnet_without_ipv4_is_refused_before_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    subnet = {
        "SubnetId": "subnet-6",
        "AvailabilityZone": "us-east-1a",
        "VpcId": "vpc-1",
        "Ipv6Native": True,
    }
    monkeypatch.setattr(Cloud, "_once", lambda *_: {"Subnets": [subnet]})
    with new_client() as client, pytest.raises(UsageError, match="subnet-6 has only IPv6") as error:
        region.find_subnet(Cloud(client.context()), "us-east-1", "subnet-6")
    assert "aws ec2 describe-subnets" in error.value.next_step


@pytest.mark.parametrize(("market", "gb", "usd"), [((), 600, 0.11), (("--spot",), 75, 0.0), ((), 100, None)])
def test_an_image_with_a_larger_disk_than_quoted_is_priced_first(
    week: Start, market: tuple[str, ...], gb: int, usd: float | None
) -> None:
    one, client = started(week)
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": gb}}
    image = {"ImageId": "ami-1", "RootDeviceName": "/dev/sda1", "BlockDeviceMappings": [disk]}
    one.aws._describe_images = lambda *_: {"Images": [image]}  # type: ignore[attr-defined]
    shown = list[bool]()
    real = one.aws.once

    def once(where: str, called: str, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if called == "run_instances":
            shown.append(sentence in client_err.getvalue())
        return real(where, called, service, parameters)

    sentence = f"ami-1 needs disks of {gb} GB"
    client_err = io.StringIO()
    one.aws.once = once  # type: ignore[method-assign]
    client.run(*UP, *market, now=lambda: one.clock.now, sleep=one.clock.sleep, stderr=client_err)
    assert shown == [usd is not None]
    assert usd is None or f"at most ${usd:.2f} more for 2 h" in client_err.getvalue()


def test_a_subnet_that_ec2_does_not_show_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cloud, "_once", lambda *_: {"Subnets": []})
    with new_client() as client, pytest.raises(UsageError, match="us-east-1 does not show subnet-8"):
        region.find_subnet(Cloud(client.context()), "us-east-1", "subnet-8")


def test_a_subnet_in_a_local_zone_is_refused_before_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines and disks cost more there than in the region, and the table has no prices of it."""
    subnet = {"SubnetId": "subnet-7", "AvailabilityZone": "us-west-2-lax-1a", "VpcId": "vpc-1"}
    monkeypatch.setattr(Cloud, "_once", lambda *_: {"Subnets": [subnet]})
    with new_client() as client, pytest.raises(UsageError, match="us-west-2-lax-1a") as error:
        region.find_subnet(Cloud(client.context()), "us-west-2", "subnet-7")
    assert "price" in error.value.why


def test_a_default_subnet_in_a_local_zone_is_left_out(week: Start) -> None:
    one, client = started(week)
    zones = ("us-east-1-bos-1a", "us-east-1-wl1-bos-wlz-1", "us-east-1b")
    subnets = {"Subnets": [{"AvailabilityZone": zone, "SubnetId": f"subnet-{zone}"} for zone in zones]}
    outpost = {
        "AvailabilityZone": "us-east-1a",
        "SubnetId": "subnet-us-east-1a",
        "OutpostArn": "arn:aws:outposts",
    }
    subnets["Subnets"].append(outpost)
    offered = [{"InstanceType": "g5.xlarge", "Location": zone} for zone in ("us-east-1a", *zones)]
    one.aws._describe_subnets = lambda *_: subnets  # type: ignore[method-assign]
    one.aws._describe_instance_type_offerings = (  # type: ignore[method-assign]
        lambda *_: {"InstanceTypeOfferings": offered}
    )
    assert one.again(client, *UP)
    assert [machine.zone for machine in one.aws.machines.values()] == ["us-east-1b"]


def test_a_region_that_does_not_answer_stops_no_launch_elsewhere(week: Start) -> None:
    """Of an interrupted launch for another job it is not known what it created there."""
    one, client = started(week)
    real = one.aws.once

    def once(where: str, called: str, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if where == "eu-west-1" and (one.aws.machines or called == "run_instances"):
            raise AwsError("NoConnection", "scripted", called, where)
        return real(where, called, service, parameters)

    one.aws.once = once  # type: ignore[method-assign]
    first = one.run(client, *UP, "--name", "first", "--region", "eu-west-1")
    assert first
    assert first.code == 5
    result = one.run(client, *UP, "--name", "second", "--region", "us-east-1")
    assert result
    assert result.code == 0, result.err
    third = one.run(client, *UP, "--name", "third", "--region", "us-east-1")
    assert third
    assert (third.code, len(live(one))) == (0, 2), third.err
    assert "could not be asked about an interrupted launch for first" in third.err
    one.aws.once = real  # type: ignore[method-assign]
    assert one.again(client, *UP, "--name", "first", "--region", "eu-west-1")
    assert len(live(one)) == 3
