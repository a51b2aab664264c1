"""Finds what a launch needs in a region: an image, a subnet per zone, and a security group for this client.

There is one security group per user and region; it opens port 22 to this client's address or the given range.
Several instances that train as one have a group of their job's, which also admits its own members.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence

from orchestrator.context import Context
from orchestrator.errors import GpujobError, UsageError
from orchestrator.instances import answers, spec
from orchestrator.instances.cloud import Account, Cloud
from orchestrator.instances.errors import AwsError, NoAddress
from orchestrator.instances.spec import Image

CHECK_IP = "https://checkip.amazonaws.com"
ADDRESS_SECONDS = 120.0
"""Seconds for which a command uses the public address that it looked up."""
SHORTEST_PREFIX = 8
"""The shortest prefix length that is accepted without --open-to-the-world."""
IMAGE_NAME = "Deep Learning OSS Nvidia Driver AMI GPU PyTorch * (Ubuntu *) *"
"""Name pattern of images: the newest match is used if the region has no image of the launch specification."""
_IMAGE_PARAMETER = "/aws/service/deeplearning/ami/x86_64/{}/latest/ami-id"


def ssh_range(ctx: Context, cidr: str | None) -> str:
    """Returns the range that may reach port 22 in AWS's form: `cidr`, else this client's present address."""
    return parse_cidr(cidr, world=True) if cidr else f"{own_address(ctx)}/32"


def parse_cidr(cidr: str, world: bool) -> str:
    """Returns the range in AWS's form. UsageError if it is malformed or, without `world`, too wide."""
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        raise UsageError(f"--ssh-cidr {cidr}: {error}", "", "--ssh-cidr 203.0.113.7/32") from None
    if network.version == 6:
        why = "instances have IPv4 addresses"
        raise UsageError(f"--ssh-cidr {cidr} is refused", why, "--ssh-cidr 203.0.113.7/32")
    if network.prefixlen < SHORTEST_PREFIX and not world:
        why = "port 22 would be open to the internet"
        raise UsageError(f"--ssh-cidr {cidr} is refused", why, "--open-to-the-world allows it")
    return str(network)


def own_address(ctx: Context) -> str:
    """Returns the IPv4 address from which AWS receives this client's requests. NoAddress if it is not known.

    It is looked up again after ADDRESS_SECONDS, since a client may move to another network.
    """
    known = ctx.once("public address", list[tuple[float, str]])
    if not known or not 0 <= ctx.now() - known[-1][0] < ADDRESS_SECONDS:
        known.append((ctx.now(), _look_up_address(ctx)))
    return known[-1][1]


def _look_up_address(ctx: Context) -> str:
    import urllib.request  # noqa: PLC0415 - 30 ms, for launches only

    url = ctx.env.get("GPUJOB_CHECKIP") or CHECK_IP
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read(64).decode("ascii", "replace").strip()
        return str(ipaddress.IPv4Address(text))
    except (OSError, ValueError) as error:
        what = "this machine's public address could not be looked up"
        raise NoAddress(what, f"{url}: {error}", "--ssh-cidr ADDRESS/32") from None


def ensure_group(account: Account, region: str, vpc: str, job: str, tags: Mapping[str, str]) -> str:
    """Returns the id of the user's own security group; it is created, with these tags too, if there is none.

    vpc: where it is; "" for the default VPC. job: of several instances that train as one, which have a group
    of their own; "" for all others.
    """
    return _ensure_group(account, region, vpc or default_vpc(account.cloud, region), job, tags)


def allow_ssh(account: Account, region: str, cidr: str, group: str, job: str = "") -> None:
    """Opens port 22 to `cidr` alone in a group.

    job: of several instances that train as one, whose group also admits its own members on MEMBER_PORTS.
    """
    cloud = account.cloud
    is_open, admits_members = False, not job
    for rule in _ingress_rules(cloud, region, group):
        if cidr in (rule.cidr_ipv4, rule.cidr_ipv6):
            is_open = True
        elif job and _is_of_members(rule, group):
            admits_members = True
        else:
            _revoke(cloud, region, group, rule.security_group_rule_id)
    if not is_open:
        _authorize(cloud, region, group, _ssh_rule(account.ctx, cidr))
    if not admits_members:
        _authorize(cloud, region, group, _member_rule(group))


def delete_group(cloud: Cloud, region: str, group: str) -> bool:
    """Deletes a security group, unless something still uses it; returns whether it is gone."""
    try:
        cloud.call(region, "delete_security_group", GroupId=group)
    except AwsError as error:
        is_gone = error.code.endswith(".NotFound")
        if not is_gone and error.code not in ("DependencyViolation", "InvalidGroup.InUse"):
            raise
        return is_gone
    return True


def _ensure_group(account: Account, region: str, vpc: str, job: str, extra_tags: Mapping[str, str]) -> str:
    ctx, cloud = account.ctx, account.cloud
    name = "gpujob-" + re.sub(r"[^A-Za-z0-9.-]", "-", ctx.who)[:120] + (f"/{job}"[:120] if job else "")
    filters = {"group-name": [name], "vpc-id": [vpc]}
    if groups := cloud.some(region, "describe_security_groups", "SecurityGroups", answers.Group, filters):
        cloud.expect(groups[0].group_id, ctx.now())
        return groups[0].group_id
    own = {spec.MANAGED: "1", spec.OWNER: ctx.who, "Name": name, **({spec.JOB: job} if job else {})}
    tags = {**extra_tags, **own}
    try:
        group = cloud.read(
            region,
            "create_security_group",
            answers.Group,
            GroupName=name,
            Description="gpujob: ssh from one address" + (", and its own members" if job else ""),
            VpcId=vpc,
            TagSpecifications=spec.tag_specifications(["security-group"], tags),
        )
        return group.group_id
    except AwsError as error:
        if error.code != "InvalidGroup.Duplicate":
            raise
        # Another gpujob command created it just now, and EC2 may not show it yet.
        created = cloud.first(region, "describe_security_groups", "SecurityGroups", answers.Group, filters)
        if not created:
            raise
        cloud.expect(created.group_id, ctx.now())
        return created.group_id


def default_vpc(cloud: Cloud, region: str) -> str:
    vpcs = cloud.some(region, "describe_vpcs", "Vpcs", answers.Vpc, {"is-default": ["true"]})
    if not vpcs:
        why = "gpujob launches into the default VPC unless the job names a subnet"
        next_step = f"resources.ec2.subnet: subnet-…, or aws ec2 create-default-vpc --region {region}"
        raise GpujobError(f"{region} has no default VPC", why, next_step)
    return vpcs[0].vpc_id


def find_subnet(cloud: Cloud, region: str, subnet: str) -> tuple[str, str]:
    """Returns zone and VPC of a subnet. AwsError if the region does not have it.

    UsageError for one without IPv4, and for one whose prices the table does not have.
    """
    listed = cloud.all(region, "describe_subnets", "Subnets", answers.Subnet, SubnetIds=[subnet])
    one = listed[0] if listed else answers.Subnet(subnet, "")
    what = why = ""
    if not listed:
        what = f"{region} does not show {subnet}"
    elif one.ipv6_native:
        what, why = f"{subnet} has only IPv6", "instances are reached at IPv4 addresses"
    elif not _has_prices_of_region(one, region):
        what = f"{subnet} is in {one.outpost_arn or one.availability_zone}"
        why = f"the known prices are those of the Availability Zones of {region}"
    if what:
        next_step = f"aws ec2 describe-subnets --region {region} lists others"
        raise UsageError(f"resources.ec2.subnet: {what}", why, next_step)
    return one.availability_zone, one.vpc_id


def subnets(cloud: Cloud, region: str) -> dict[str, str]:
    """Returns zone → id of its default subnet, for the zones with the prices of the region."""
    filters = {"default-for-az": ["true"]}
    listed = cloud.some(region, "describe_subnets", "Subnets", answers.Subnet, filters)
    return {one.availability_zone: one.subnet_id for one in listed if _has_prices_of_region(one, region)}


def _has_prices_of_region(subnet: answers.Subnet, region: str) -> bool:
    """Whether a subnet is in an Availability Zone: Local and Wavelength Zones and Outposts have others."""
    return not subnet.outpost_arn and re.fullmatch(f"{region}[a-z]", subnet.availability_zone) is not None


def offerings(cloud: Cloud, region: str, types: Sequence[str]) -> dict[str, list[str]]:
    """Returns instance type → zones of the region that offer it."""
    listed = cloud.all(
        region,
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        answers.Offering,
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": list(types)}],
    )
    zones: dict[str, list[str]] = {}
    for offering in listed:
        zones.setdefault(offering.instance_type, []).append(offering.location)
    return zones


def find_image(cloud: Cloud, region: str, names: tuple[str, ...]) -> Image:
    """Returns the first of `names` (see LaunchSpec.images) that the region has, else the newest DLAMI."""
    for name in names:
        if image_id := _image_id(cloud, region, name):
            images = cloud.all(region, "describe_images", "Images", answers.Image, ImageIds=[image_id])
            if not images:
                why = f"{name} names it"
                raise GpujobError(f"{region} has no image {image_id}", why, "resources.ec2.images: [ami-…]")
            return _parse_image(images[0])
    return _newest_image(cloud, region, names)


def _image_id(cloud: Cloud, region: str, name: str) -> str | None:
    if name.startswith("ami-"):
        return name
    parameter = name if name.startswith("/") else _IMAGE_PARAMETER.format(name)
    try:
        answer = cloud.read(region, "get_parameter", answers.GotParameter, service="ssm", Name=parameter)
    except AwsError as error:
        if error.code in ("ParameterNotFound", "AccessDeniedException", "ParameterVersionNotFound"):
            return None
        raise
    return answer.parameter.value


def _newest_image(cloud: Cloud, region: str, names: tuple[str, ...]) -> Image:
    filters = [
        {"Name": "name", "Values": [IMAGE_NAME]},
        {"Name": "architecture", "Values": ["x86_64"]},
        {"Name": "state", "Values": ["available"]},
    ]
    images = cloud.all(region, "describe_images", "Images", answers.Image, Owners=["amazon"], Filters=filters)
    if not images:
        why = f"it has none of {', '.join(names)}, and none whose name is like {IMAGE_NAME!r}"
        raise GpujobError(f"{region} has no image to launch", why, "resources.ec2.images: [ami-…]")
    return _parse_image(max(images, key=lambda image: image.creation_date))


def _parse_image(image: answers.Image) -> Image:
    device = image.root_device_name or "/dev/sda1"
    sizes = {one.device_name: one.ebs.volume_size for one in image.block_device_mappings if one.ebs}
    others = {name: gb for name, gb in sizes.items() if name != device and gb}
    return Image(image.image_id, image.name, device, sizes.get(device, 0), others)


def _ingress_rules(cloud: Cloud, region: str, group: str) -> list[answers.Rule]:
    filters = {"group-id": [group]}
    rules = cloud.some(region, "describe_security_group_rules", "SecurityGroupRules", answers.Rule, filters)
    return [rule for rule in rules if not rule.is_egress]


def _is_of_members(rule: answers.Rule, group: str) -> bool:
    is_from_group = rule.referenced_group_info.group_id == group
    return is_from_group and (rule.from_port, rule.to_port) == spec.MEMBER_PORTS


def _member_rule(group: str) -> Mapping[str, object]:
    first, last = spec.MEMBER_PORTS
    return {
        "IpProtocol": "tcp",
        "FromPort": first,
        "ToPort": last,
        "UserIdGroupPairs": [{"GroupId": group, "Description": "gpujob: hosts of one run"}],
    }


def _ssh_rule(ctx: Context, cidr: str) -> Mapping[str, object]:
    description = re.sub(r"[^A-Za-z0-9 ._:/()#,@\[\]+=&;{}!$*-]", "-", f"gpujob {ctx.who}")[:255]
    v6 = ":" in cidr
    ranges = [{"CidrIpv6" if v6 else "CidrIp": cidr, "Description": description}]
    return {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "Ipv6Ranges" if v6 else "IpRanges": ranges}


def _authorize(cloud: Cloud, region: str, group: str, rule: Mapping[str, object]) -> None:
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
