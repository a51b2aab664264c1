"""Checks whether a launch would work, without one: credentials, permissions, quota, image, network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.context import Context
from orchestrator.errors import GpujobError
from orchestrator.instances import errors, keys, lifecycle, quotas, region, spec
from orchestrator.instances.catalog import table
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.errors import AwsError
from orchestrator.instances.quotas import Quota
from orchestrator.instances.spec import Candidate

Row = tuple[str, str, str, str]
"""A row of `doctor`: name, status (ok, warning or missing), message, how to fix it."""
_POLICY = "docs/iam.md has the smallest policy that works"


def rows(ctx: Context, region_name: str, type_: str = spec.DEFAULT_TYPES[0], spot: bool = False) -> list[Row]:
    """Returns all rows, for an instance of this type; without credentials only the first row."""
    cloud = Cloud(ctx)
    credentials = _row("credentials", lambda: _identity(cloud, region_name))
    if credentials[1] == "missing":
        return [credentials]
    candidate = Candidate(region_name, "", type_, spot)
    return [
        credentials,
        _row("network", lambda: _network(cloud, region_name)),
        _row("image", lambda: _image(cloud, region_name)),
        _row("type", lambda: _type(cloud, candidate)),
        _row("quota", lambda: _quota(cloud, candidate)),
        *_permissions(cloud, candidate),
        _row("key", lambda: ("ok", f"{keys.user_key(ctx)}", "")),
        _row("address", lambda: ("ok", f"port 22 would be opened to {region.own_address(ctx)}/32", "")),
    ]


def _row(what: str, check: Callable[[], tuple[str, str, str]]) -> Row:
    try:
        return (what, *check())
    except GpujobError as error:
        return (what, "missing", f"{error.what}: {error.why}", error.next_step)


def _identity(cloud: Cloud, region_name: str) -> tuple[str, str, str]:
    answer = cloud.call(region_name, "get_caller_identity", service="sts")
    return ("ok", str(answer["Arn"]), "")


def _network(cloud: Cloud, region_name: str) -> tuple[str, str, str]:
    vpc = region.default_vpc(cloud, region_name)
    zones = sorted(region.subnets(cloud, region_name))
    if not zones:
        return ("missing", f"{vpc} has no default subnet", "aws ec2 create-default-subnet")
    return ("ok", f"{vpc}, default subnets in {', '.join(zones)}", "")


def _image(cloud: Cloud, region_name: str) -> tuple[str, str, str]:
    image = region.find_image(cloud, region_name, spec.IMAGES)
    return ("ok", f"{image.id} {image.name}, {image.root_gb} GB", "")


def _type(cloud: Cloud, candidate: Candidate) -> tuple[str, str, str]:
    zones = sorted(region.offerings(cloud, candidate.region, [candidate.type]).get(candidate.type, ()))
    if not zones:
        return (
            "missing",
            f"{candidate.type} is not offered in {candidate.region}",
            "--set resources.ec2.types=[…]",
        )
    return ("ok", f"{candidate.type} in {', '.join(zones)}", "")


def _quota(cloud: Cloud, candidate: Candidate) -> tuple[str, str, str]:
    """Checks the quota of vCPUs, which is 0 in a new account. If it cannot be read, that is a warning."""
    quota = quotas.of(candidate)
    try:
        vcpus = _read_quota(cloud, quota)
    except AwsError as error:
        fix = "servicequotas:GetServiceQuota and ListServiceQuotas"
        return ("warning", f"{quota} could not be read ({error.code})", fix)
    if vcpus is None:
        return ("warning", f"the quota of {quota} is not known", quota.command)
    needed = table().types[candidate.type].vcpus if candidate.type in table().types else 4
    message = f"{quota}: {vcpus:.0f}, and {candidate.type} needs {needed}"
    return ("ok", message, "") if vcpus >= needed else ("missing", message, quota.command)


def _read_quota(cloud: Cloud, quota: Quota) -> float | None:
    """Returns the value of a quota, found by its code or its name; None if AWS lists none of this name."""
    if quota.code:
        parameters = {"ServiceCode": quota.service, "QuotaCode": quota.code}
        answer = cloud.call(quota.region, "get_service_quota", service="service-quotas", **parameters)
        return float(answer["Quota"]["Value"])
    listed = cloud.all(
        quota.region, "list_service_quotas", "Quotas", service="service-quotas", ServiceCode=quota.service
    )
    return next((float(one["Value"]) for one in listed if quota.matches(str(one.get("QuotaName")))), None)


def _permissions(cloud: Cloud, candidate: Candidate) -> list[Row]:
    """Makes each call with DryRun: AWS answers whether it would be allowed, and does nothing."""
    tags = spec.tag_specifications(spec.TAGGED_KINDS, {spec.MANAGED: "1"})
    calls: dict[str, dict[str, Any]] = {
        "run_instances": {
            "ImageId": _some_image(cloud, candidate.region),
            "InstanceType": candidate.type,
            "MinCount": 1,
            "MaxCount": 1,
            "TagSpecifications": tags,
            "MetadataOptions": {"HttpTokens": "required"},
        },
        "create_security_group": {
            "GroupName": "gpujob-doctor",
            "Description": "gpujob doctor",
            "TagSpecifications": spec.tag_specifications(["security-group"], {spec.MANAGED: "1"}),
        },
        "describe_instances": {},
    }
    # Of an instance that does not exist, a policy with a condition on tags allows nothing.
    if own := next(lifecycle.list_managed(cloud, candidate.region), None):
        calls["terminate_instances"] = calls["start_instances"] = {"InstanceIds": [own.id]}
    return [_may(cloud, candidate.region, name, parameters) for name, parameters in calls.items()]


def _may(cloud: Cloud, region_name: str, operation: str, parameters: dict[str, Any]) -> Row:
    what = "may " + operation.replace("_", " ")
    try:
        cloud.call(region_name, operation, DryRun=True, **parameters)
    except AwsError as error:
        if error.code == "DryRunOperation" or error.code.startswith("InvalidInstanceID"):
            return (what, "ok", "allowed", "")
        if errors.action(error.code) is errors.Action.DENIED:
            return (what, "missing", f"{error.code}", _POLICY)
        return (what, "warning", f"{error.code}: {error.message}", _POLICY)
    return (what, "ok", "allowed", "")


def _some_image(cloud: Cloud, region_name: str) -> str:
    try:
        return region.find_image(cloud, region_name, spec.IMAGES).id
    except GpujobError:
        return "ami-0123456789abcdef0"
