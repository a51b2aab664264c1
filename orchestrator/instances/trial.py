"""Whether a launch would work, asked of AWS without one: identity, permissions, quota, image, network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.context import Context
from orchestrator.errors import GpujobError
from orchestrator.instances import awserrors, images, keys, launch, launcher, network
from orchestrator.instances.awserrors import AwsError
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.launch import Candidate

Row = tuple[str, str, str, str]  # what, ok | warning | missing, what was seen, how to mend it
_POLICY = "docs/iam.md has the smallest policy that works"


def rows(ctx: Context, region: str, kind: str, spot: bool) -> list[Row]:
    """Every row, whatever the others say; after missing credentials there is nothing more to ask."""
    cloud = Cloud(ctx)
    first = _row("credentials", lambda: _identity(cloud, region))
    if first[1] == "missing":
        return [first]
    at = Candidate(region, "", kind, spot)
    return [
        first,
        _row("network", lambda: _network(cloud, region)),
        _row("image", lambda: _image(cloud, region)),
        _row("type", lambda: _type(cloud, at)),
        _row("quota", lambda: _quota(cloud, at)),
        *_permissions(cloud, at),
        _row("key", lambda: ("ok", f"{keys.user_key(ctx)}", "")),
        _row("address", lambda: ("ok", f"{network.own_address(ctx)}/32 would be let in", "")),
    ]


def _row(what: str, look: Callable[[], tuple[str, str, str]]) -> Row:
    try:
        verdict, seen, fix = look()
    except AwsError as error:
        told = awserrors.explain(error)
        return (what, "missing", f"{told.what}: {told.why}", told.next_step)
    except GpujobError as error:
        return (what, "missing", f"{error.what}: {error.why}", error.next_step)
    return (what, verdict, seen, fix)


def _identity(cloud: Cloud, region: str) -> tuple[str, str, str]:
    who = cloud.call(region, "get_caller_identity", service="sts")
    return ("ok", str(who["Arn"]), "")


def _network(cloud: Cloud, region: str) -> tuple[str, str, str]:
    vpc = network.default_vpc(cloud, region)
    zones = sorted(network.subnets(cloud, region))
    if not zones:
        return ("missing", f"{vpc} has no default subnet", "aws ec2 create-default-subnet")
    return ("ok", f"{vpc}, default subnets in {', '.join(zones)}", "")


def _image(cloud: Cloud, region: str) -> tuple[str, str, str]:
    image = images.find(cloud, region, launch.IMAGES)
    return ("ok", f"{image.id} {image.name}, {image.root_gb} GB", "")


def _type(cloud: Cloud, at: Candidate) -> tuple[str, str, str]:
    zones = sorted(launcher.offerings(cloud, at.region, [at.type]).get(at.type, ()))
    if not zones:
        return ("missing", f"{at.type} is not offered in {at.region}", "--set resources.ec2.types=[…]")
    return ("ok", f"{at.type} in {', '.join(zones)}", "")


def _quota(cloud: Cloud, at: Candidate) -> tuple[str, str, str]:
    """vCPUs; an account that is new has 0. Whoever may not ask is not stopped by it."""
    code, command = awserrors.quota(at)
    try:
        answer = cloud.call(
            at.region, "get_service_quota", service="service-quotas", ServiceCode="ec2", QuotaCode=code
        )
    except AwsError as error:
        return ("warning", f"{code} could not be read ({error.code})", "servicequotas:GetServiceQuota")
    vcpus = float(answer["Quota"]["Value"])
    seen = f"{code}: {vcpus:.0f} vCPUs {at.market} of {at.family}"
    return ("ok", seen, "") if vcpus >= 4 else ("missing", seen, command)


def _permissions(cloud: Cloud, at: Candidate) -> list[Row]:
    """Each call with DryRun, which AWS answers with whether it would be allowed."""
    nobody, tags = "i-0123456789abcdef0", launch.tagged(["instance"], {launch.MANAGED: "1"})
    tried: dict[str, dict[str, Any]] = {
        "run_instances": {
            "ImageId": _some_image(cloud, at.region),
            "InstanceType": at.type,
            "MinCount": 1,
            "MaxCount": 1,
            "TagSpecifications": tags,
            "MetadataOptions": {"HttpTokens": "required"},
        },
        "create_security_group": {"GroupName": "gpujob-doctor", "Description": "gpujob doctor"},
        "describe_instances": {},
        "terminate_instances": {"InstanceIds": [nobody]},
        "start_instances": {"InstanceIds": [nobody]},
    }
    return [_allowed(cloud, at.region, name, words) for name, words in tried.items()]


def _allowed(cloud: Cloud, region: str, operation: str, words: dict[str, Any]) -> Row:
    what = "may " + operation.replace("_", " ")
    try:
        cloud.call(region, operation, DryRun=True, **words)
    except AwsError as error:
        if error.code == "DryRunOperation" or error.code.startswith("InvalidInstanceID"):
            return (what, "ok", "allowed", "")
        if awserrors.action(error.code) is awserrors.Action.DENIED:
            return (what, "missing", f"{error.code}", _POLICY)
        return (what, "warning", f"{error.code}: {error.message}", _POLICY)
    return (what, "ok", "allowed", "")


def _some_image(cloud: Cloud, region: str) -> str:
    try:
        return images.find(cloud, region, launch.IMAGES).id
    except (AwsError, GpujobError):
        return "ami-0123456789abcdef0"
