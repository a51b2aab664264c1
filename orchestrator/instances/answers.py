"""What AWS answers, as far as gpujob uses it; a field that is missing or of another type has its default."""

from __future__ import annotations

from datetime import datetime

import msgspec

Tags = tuple[dict[str, str], ...]
"""Each with `Key` and `Value`."""


class Answer(msgspec.Struct, frozen=True, rename="pascal"):
    """In an answer, a field has the name of the API: `volume_id` is `VolumeId`."""


class Named(Answer, frozen=True):
    name: str = ""


class Placement(Answer, frozen=True):
    availability_zone: str = ""


class Reason(Answer, frozen=True):
    code: str = ""
    message: str = ""


class GroupId(Answer, frozen=True):
    group_id: str | None = None


class Ebs(Answer, frozen=True):
    volume_id: str | None = None
    volume_size: int = 0


class Device(Answer, frozen=True):
    device_name: str = ""
    ebs: Ebs | None = None


class Instance(Answer, frozen=True):
    instance_id: str
    state: Named = Named()
    instance_type: str = ""
    placement: Placement = Placement()
    instance_lifecycle: str = ""
    public_ip_address: str | None = None
    private_ip_address: str | None = None
    launch_time: datetime | None = None
    state_transition_reason: str = ""
    state_reason: Reason = Reason()
    security_groups: tuple[GroupId, ...] = ()
    block_device_mappings: tuple[Device, ...] = ()
    spot_instance_request_id: str | None = None
    tags: Tags = ()


class Reservation(Answer, frozen=True):
    instances: tuple[Instance, ...] = ()
    owner_id: str | None = None


class Attachment(Answer, frozen=True):
    """Of a volume, or of a network interface."""

    instance_id: str = ""


class Volume(Answer, frozen=True):
    volume_id: str
    size: int = 0
    state: str = ""
    create_time: datetime | None = None
    attachments: tuple[Attachment, ...] = ()
    tags: Tags = ()


class LaunchSpecification(Answer, frozen=True):
    instance_type: str = ""


class SpotRequest(Answer, frozen=True):
    spot_instance_request_id: str
    state: str
    instance_id: str = ""
    create_time: datetime | None = None
    launch_specification: LaunchSpecification = LaunchSpecification()
    tags: Tags = ()


class Interface(Answer, frozen=True):
    """A network interface."""

    network_interface_id: str
    status: str = ""
    attachment: Attachment = Attachment()
    groups: tuple[GroupId, ...] = ()
    tag_set: Tags = ()


class Group(Answer, frozen=True):
    """A security group."""

    group_id: str
    tags: Tags = ()


class Rule(Answer, frozen=True):
    """A rule of a security group."""

    security_group_rule_id: str
    is_egress: bool = False
    from_port: int | None = None
    to_port: int | None = None
    cidr_ipv4: str | None = None
    cidr_ipv6: str | None = None
    referenced_group_info: GroupId = GroupId()


class Vpc(Answer, frozen=True):
    vpc_id: str


class Subnet(Answer, frozen=True):
    subnet_id: str
    availability_zone: str
    vpc_id: str = ""
    ipv6_native: bool = False
    outpost_arn: str = ""


class Offering(Answer, frozen=True):
    """An instance type that a zone, the `location`, has."""

    instance_type: str
    location: str


class Image(Answer, frozen=True):
    image_id: str
    name: str = ""
    creation_date: str = ""
    root_device_name: str = ""
    block_device_mappings: tuple[Device, ...] = ()


class Region(Answer, frozen=True):
    region_name: str


class Parameter(Answer, frozen=True):
    value: str


class GotParameter(Answer, frozen=True):
    parameter: Parameter


class Identity(Answer, frozen=True):
    account: str = ""
    arn: str = ""


class Console(Answer, frozen=True):
    output: str = ""


class Quota(Answer, frozen=True):
    value: float
    quota_name: str = ""


class GotQuota(Answer, frozen=True):
    quota: Quota


class Price(Answer, frozen=True):
    spot_price: str
    instance_type: str = ""


class Products(Answer, frozen=True):
    """Each as JSON text."""

    price_list: tuple[str, ...] = ()


class Prices(Answer, frozen=True):
    """The latest first."""

    spot_price_history: tuple[Price, ...] = ()
