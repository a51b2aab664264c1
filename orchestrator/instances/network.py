"""Who may come in: one security group a user and region, port 22, this machine's address alone."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from orchestrator.context import Context
from orchestrator.errors import GpujobError, UsageError
from orchestrator.instances import launch
from orchestrator.instances.awserrors import AwsError
from orchestrator.instances.cloud import Cloud

CHECK_IP = "https://checkip.amazonaws.com"
WIDEST = {4: 8, 6: 32}
"""IP version → the shortest prefix that is taken without a flag: nobody owns more."""


def ingress(ctx: Context, cidr: str | None, world: bool) -> str:
    """The range that is let in: `cidr` as typed, else this machine's own. UsageError for the world."""
    if cidr is None:
        return f"{own_address(ctx)}/32"
    return typed(cidr, world)


def typed(cidr: str, world: bool) -> str:
    """A range as AWS wants it. UsageError for nonsense and, without `world`, for the world."""
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        raise UsageError(f"--ssh-cidr {cidr}: {error}", "", "--ssh-cidr 203.0.113.7/32") from None
    if network.prefixlen < WIDEST[network.version] and not world:
        why = "port 22 would stand open to the world"
        raise UsageError(f"--ssh-cidr {cidr} is refused", why, "--open-to-the-world, if that is meant")
    return str(network)


def own_address(ctx: Context) -> str:
    """The IPv4 address by which AWS sees this machine, asked of AWS itself."""
    import urllib.request  # noqa: PLC0415 - 30 ms that only a launch pays for

    url = ctx.env.get("GPUJOB_CHECKIP") or CHECK_IP
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            said = answer.read(64).decode("ascii", "replace").strip()
        return str(ipaddress.IPv4Address(said))
    except (OSError, ValueError) as error:
        why = f"{url}: {error}"
        raise GpujobError(
            "this machine's address could not be found out", why, "--ssh-cidr ADDRESS/32"
        ) from None


def group_name(ctx: Context) -> str:
    return "gpujob-" + re.sub(r"[^A-Za-z0-9.-]", "-", ctx.who)[:200]


def admit(ctx: Context, cloud: Cloud, region: str, cidr: str, group: str | None = None) -> str:
    """The id of our group, or of the `group` that a box stands in: `cidr` may reach port 22, nobody else."""
    group = group or _group(ctx, cloud, region)
    wanted = True
    for rule in _ssh_rules(cloud, region, group):
        if rule.get("CidrIpv4") == cidr or rule.get("CidrIpv6") == cidr:
            wanted = False
        else:
            _revoke(cloud, region, group, rule["SecurityGroupRuleId"])
    if wanted:
        _authorize(ctx, cloud, region, group, cidr)
    return group


def drop(cloud: Cloud, region: str, group: str) -> None:
    """Removes a group; one that something still uses stays."""
    try:
        cloud.call(region, "delete_security_group", GroupId=group)
    except AwsError as error:
        if error.code not in ("DependencyViolation", "InvalidGroup.NotFound", "InvalidGroup.InUse"):
            raise


def _group(ctx: Context, cloud: Cloud, region: str) -> str:
    vpc = default_vpc(cloud, region)
    name = group_name(ctx)
    filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
    found = cloud.call(region, "describe_security_groups", Filters=filters)["SecurityGroups"]
    if found:
        return str(found[0]["GroupId"])
    tags = launch.tagged(
        ["security-group"], {launch.MANAGED: "1", f"{launch.TAG}user": ctx.who, "Name": name}
    )
    about = "gpujob: ssh from one address"
    try:
        made = cloud.call(
            region,
            "create_security_group",
            GroupName=name,
            Description=about,
            VpcId=vpc,
            TagSpecifications=tags,
        )
        return str(made["GroupId"])
    except AwsError as error:  # another command of ours was first
        if error.code != "InvalidGroup.Duplicate":
            raise
    return str(
        cloud.call(region, "describe_security_groups", Filters=filters)["SecurityGroups"][0]["GroupId"]
    )


def default_vpc(cloud: Cloud, region: str) -> str:
    found = cloud.call(region, "describe_vpcs", Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    if not found:
        why = "gpujob launches into the default VPC"
        raise GpujobError(
            f"{region} has no default VPC", why, f"aws ec2 create-default-vpc --region {region}"
        )
    return str(found[0]["VpcId"])


def subnets(cloud: Cloud, region: str) -> dict[str, str]:
    """Zone → its default subnet."""
    filters = [{"Name": "default-for-az", "Values": ["true"]}]
    found = cloud.all(region, "describe_subnets", "Subnets", Filters=filters)
    return {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in found}


def _ssh_rules(cloud: Cloud, region: str, group: str) -> list[dict[str, Any]]:
    filters = [{"Name": "group-id", "Values": [group]}]
    rules = cloud.all(region, "describe_security_group_rules", "SecurityGroupRules", Filters=filters)
    return [rule for rule in rules if not rule.get("IsEgress")]


def _authorize(ctx: Context, cloud: Cloud, region: str, group: str, cidr: str) -> None:
    about = re.sub(r"[^A-Za-z0-9 ._:/()#,@\[\]+=&;{}!$*-]", "-", f"gpujob {ctx.who}")[:255]
    v6 = ":" in cidr
    ranges = [{"CidrIpv6" if v6 else "CidrIp": cidr, "Description": about}]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "Ipv6Ranges" if v6 else "IpRanges": ranges}
    try:
        cloud.call(region, "authorize_security_group_ingress", GroupId=group, IpPermissions=[rule])
    except AwsError as error:
        if error.code != "InvalidPermission.Duplicate":
            raise


def _revoke(cloud: Cloud, region: str, group: str, rule: str) -> None:
    try:
        cloud.call(region, "revoke_security_group_ingress", GroupId=group, SecurityGroupRuleIds=[rule])
    except AwsError as error:
        if not error.code.startswith(("InvalidPermission", "InvalidSecurityGroupRuleId")):
            raise
