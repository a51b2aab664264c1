"""Checks whether a launch would work: credentials, permissions, quota, image, network; and tries one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.context import Context
from orchestrator.errors import GpujobError
from orchestrator.instances import (
    answers,
    changes,
    connection,
    ensure,
    errors,
    lifecycle,
    quote,
    region,
    spec,
    survey,
)
from orchestrator.instances.catalog import Quota, quota_of, table
from orchestrator.instances.cloud import Account, Cloud
from orchestrator.instances.errors import AwsError
from orchestrator.instances.instance import Instance
from orchestrator.instances.spec import Candidate, LaunchSpec
from orchestrator.targets import helper

Row = tuple[str, str, str, str]
"""A row of `doctor`: name, status (ok, warning or missing), message, how to fix it."""
TRIAL_JOB = "gpujob-doctor"
_POLICY = "docs/iam.md has the smallest policy that works"


def rows(ctx: Context, launch: LaunchSpec) -> list[Row]:
    """Returns all rows, for the first type and region of a launch; without credentials only the first row."""
    cloud, region_name = Cloud(ctx), launch.regions[0]
    credentials = _row("credentials", lambda: _identity(cloud, region_name))
    if credentials[1] == "missing":
        return [credentials]
    candidate = Candidate(region_name, "", launch.types[0], launch.spot)
    return [
        credentials,
        _row("network", lambda: _network(cloud, launch)),
        _row("image", lambda: _image(cloud, launch)),
        _row("type", lambda: _type(cloud, candidate)),
        _row("quota", lambda: _quota(cloud, candidate)),
        *_permissions(cloud, candidate, launch),
        _row("key", lambda: ("ok", f"{connection.user_key(ctx)}", "")),
        _row("address", lambda: _address(ctx, launch)),
    ]


def _address(ctx: Context, launch: LaunchSpec) -> tuple[str, str, str]:
    if launch.security_group:
        return ("ok", f"{launch.security_group} stays as it is; it must admit this machine to port 22", "")
    return ("ok", f"port 22 would be opened to {region.own_address(ctx)}/32", "")


def _row(what: str, check: Callable[[], tuple[str, str, str]]) -> Row:
    try:
        return (what, *check())
    except GpujobError as error:
        return (what, "missing", f"{error.what}: {error.why}", error.next_step)


def _identity(cloud: Cloud, region_name: str) -> tuple[str, str, str]:
    identity = cloud.read(region_name, "get_caller_identity", answers.Identity, service="sts")
    return ("ok", identity.arn, "")


def _network(cloud: Cloud, launch: LaunchSpec) -> tuple[str, str, str]:
    region_name = launch.regions[0]
    if launch.subnet:
        zone, vpc = region.find_subnet(cloud, region_name, launch.subnet)
        return ("ok", f"{launch.subnet} of {vpc} in {zone}", "")
    vpc = region.default_vpc(cloud, region_name)
    zones = sorted(region.subnets(cloud, region_name))
    if not zones:
        return ("missing", f"{vpc} has no default subnet", "aws ec2 create-default-subnet")
    return ("ok", f"{vpc}, default subnets in {', '.join(zones)}", "")


def _image(cloud: Cloud, launch: LaunchSpec) -> tuple[str, str, str]:
    image = region.find_image(cloud, launch.regions[0], launch.images)
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
    quota = quota_of(candidate)
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
        return cloud.read(
            quota.region, "get_service_quota", answers.GotQuota, service="service-quotas", **parameters
        ).quota.value
    listed = cloud.all(
        quota.region,
        "list_service_quotas",
        "Quotas",
        answers.Quota,
        service="service-quotas",
        ServiceCode=quota.service,
    )
    return next((one.value for one in listed if quota.matches(one.quota_name)), None)


def _permissions(cloud: Cloud, candidate: Candidate, launch: LaunchSpec) -> list[Row]:
    """Makes each call with DryRun: AWS answers whether it would be allowed, and does nothing."""
    values = {**launch.extra_tags, spec.MANAGED: "1"}
    calls: dict[str, Mapping[str, Any]] = {
        "run_instances": {
            "ImageId": _some_image(cloud, launch),
            "InstanceType": candidate.type,
            "MinCount": 1,
            "MaxCount": 1,
            "TagSpecifications": spec.tag_specifications(spec.TAGGED_KINDS, values),
            "MetadataOptions": {"HttpTokens": "required"},
        },
        "create_security_group": {
            "GroupName": "gpujob-doctor",
            "Description": "gpujob doctor",
            "TagSpecifications": spec.tag_specifications(["security-group"], values),
        },
        "describe_instances": {},
    }
    # Of an instance that does not exist, a policy with a condition on tags allows nothing.
    if own := next(lifecycle.list_managed(cloud, candidate.region), None):
        calls["terminate_instances"] = calls["start_instances"] = {"InstanceIds": [own.id]}
    return [_may(cloud, candidate.region, name, parameters) for name, parameters in calls.items()]


def _may(cloud: Cloud, region_name: str, operation: str, parameters: Mapping[str, Any]) -> Row:
    what = "may " + operation.replace("_", " ")
    try:
        cloud.call(region_name, operation, DryRun=True, **parameters)
    except AwsError as error:
        if error.code == "DryRunOperation" or error.code.startswith("InvalidInstanceID"):
            return (what, "ok", "allowed", "")
        if errors.action(error.code) is errors.Action.DENIED:
            return (what, "missing", f"{error.code}: {error.why}", error.next_step)
        return (what, "warning", f"{error.code}: {error.message}", _POLICY)
    return (what, "ok", "allowed", "")


def _some_image(cloud: Cloud, launch: LaunchSpec) -> str:
    try:
        return region.find_image(cloud, launch.regions[0], launch.images).id
    except GpujobError:
        return "ami-0123456789abcdef0"


def trial_rows(account: Account, launch: LaunchSpec) -> list[Row]:
    """Launches a small instance for minutes, checks what every run relies on, and always terminates it.

    It is launched into the network of a job's launch, with its tags. The user confirms the price. Returns a
    row for each check.
    """
    started, table = account.ctx.now(), list[Row]()
    try:
        offer = quote.for_trial(TRIAL_JOB, launch, started, account.ctx.who)
        instance = ensure.ensure(account, offer)
        seconds = account.ctx.now() - started
        where = f"{instance.label}, {instance.type} in {instance.zone}"
        table.append(("boot", "ok", f"{where}, was ready after {seconds:.0f} s", ""))
        table += _trial_checks(account, instance)
    except GpujobError as error:
        if error.exit_code == 7:  # the price was not confirmed: nothing was launched
            raise
        table.append(("boot", "missing", f"{error.what}: {error.why}", error.next_step))
    finally:
        for left in account.records.current():
            if left.job == TRIAL_JOB:
                changes.terminate(account, left)
    return [*table, _clean_up(account, launch.regions[0])]


def _trial_checks(account: Account, instance: Instance) -> list[Row]:
    host = connection.connect(account, instance)
    try:
        limits = helper.instance(host)
    finally:
        host.close()
    key = "verified at the first login, and replaced by one that is not in the user-data"
    is_limited = limits.deadline == int(instance.deadline) and bool(limits.lease)
    switches = (
        "deadline and lease are set" if is_limited else f"deadline {limits.deadline}, lease {limits.lease}"
    )
    return [
        ("network", "ok", f"port 22 of {instance.address} answers this address alone", ""),
        ("host key", "ok" if instance.host_key_rotated else "missing", key, "gpujob hosts list"),
        ("shutdown", "ok" if is_limited else "missing", switches, "docs/instance.md"),
    ]


def _clean_up(account: Account, region_name: str) -> Row:
    """Looks for what the trial left; its security group may stay for another instance of the user."""
    orphans = survey.orphans(account, survey.survey(account, region_name, [region_name]), [region_name])
    left = [one.resource.id for one in orphans if one.resource.job == TRIAL_JOB]
    if left:
        return ("clean-up", "missing", f"left: {', '.join(left)}", "gpujob hosts orphans --end")
    return ("clean-up", "ok", "the instance is terminated, and nothing of it is left", "")
