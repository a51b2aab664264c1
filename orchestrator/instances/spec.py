"""Builds the request to EC2: the launch specification, its candidates in order, and the parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

import msgspec
from msgspec import Struct

from orchestrator.core.values import iso
from orchestrator.errors import UsageError

TAG = "gpujob:"
MANAGED = f"{TAG}managed"
ATTEMPT = f"{TAG}attempt"
JOB = f"{TAG}job"
OWNER = f"{TAG}user"
CLIENT = f"{TAG}client"
"""Tag with the random id of the client, since user@host may name several."""
USED_BY = f"{TAG}used-by"
"""Tag with the id of another client of the user that has adopted an instance and uses it."""
GROUP = f"{TAG}group"
"""Tag of each of several instances that train as one; the same on all of them."""
EXPIRES = f"{TAG}expires-at"
DEFAULT_TYPES = ("g6.xlarge", "g5.xlarge", "g6.2xlarge", "g5.2xlarge")
DEFAULT_HOURS = 24.0
"""Hours until the deadline of an instance without a limit: every instance has a deadline."""
BOOT_SECONDS = 20 * 60
"""Seconds after a start until an instance that gpujob has not reached shuts itself down: its boot failed."""
MEMBER_PORTS = (1024, 65535)
"""First and last TCP port on which instances of one group reach each other: all but those of the system."""
TAGGED_KINDS = ("instance", "volume", "network-interface")
"""Resources that a launch tags, besides the request of a spot instance."""
DATA_DEVICE = "/dev/sdf"
SPOT_ROOT_GB = 60
"""Root disk in GB, about the size of the image, of an instance with its data on a separate volume."""
_TAGS, _TAG_KEY, _TAG_VALUE = 50, 128, 256  # EC2's limits of tags, and of their characters
_OWN_TAGS = 10
IMAGES = (
    *("oss-nvidia-driver-gpu-pytorch-2.13-ubuntu-26.04", "oss-nvidia-driver-gpu-pytorch-2.12-ubuntu-24.04"),
    *("oss-nvidia-driver-gpu-pytorch-2.10-ubuntu-24.04",),
)
"""SSM parameters below /aws/service/deeplearning/ami/x86_64/; the first one that a region has is used."""


class LaunchSpec(Struct, frozen=True, kw_only=True):
    """The instance to launch: one of `types` in one of `regions`, tried in this order.

    deadline: seconds since 1970, when it shuts itself down. data_gb: size of a new data volume, 0 for none.
    volume: an existing data volume of `volume_gb` GB to attach, which fixes the `zone`. owner, client:
    user@host and the random id of the client, for its tags. subnet, security_group, kms_key: ids in the
    account; "" for those of the default VPC, gpujob's own group and the default key. extra_tags: beside
    gpujob's. private_ip: without a public address. rescue_of: id of the instance with GPUs whose volume this
    one reads; "" if runs are to train on it. instance_profile: its name or ARN, "" for no role.
    nodes: instances that train as one run and reach each other; all are launched by one request, or none is.
    group: that of the instance which this one replaces; "" for a new one.
    images: names as in IMAGES, SSM parameters, or AMI ids.
    """

    types: tuple[str, ...]
    regions: tuple[str, ...]
    spot: bool
    deadline: float
    job: str
    owner: str
    root_gb: int = 0
    data_gb: int = 0
    login_user: str = "ubuntu"
    images: tuple[str, ...] = IMAGES
    zone: str = ""
    volume: str = ""
    volume_gb: int = 0
    client: str = ""
    subnet: str = ""
    security_group: str = ""
    extra_tags: dict[str, str] = {}
    kms_key: str = ""
    instance_profile: str = ""
    private_ip: bool = False
    rescue_of: str = ""
    nodes: int = 1
    group: str = ""

    @property
    def count(self) -> int:
        """The instances of one request: a volume can be attached to one alone."""
        return 1 if self.volume else self.nodes

    @property
    def keeps_volume(self) -> bool:
        """Whether the run folder is on a volume of its own, which outlives the instance."""
        return bool(self.data_gb or self.volume)


class Candidate(Struct, frozen=True):
    """An instance type in a zone that a launch may try."""

    region: str
    zone: str
    type: str
    spot: bool

    @property
    def market(self) -> str:
        return "spot" if self.spot else "on-demand"

    def __str__(self) -> str:
        return f"{self.type} {self.market} in {self.zone}"


class Image(msgspec.Struct, frozen=True):
    """An AMI. The root disk must have at least `root_gb` GB; others: the GB of each other disk, by device."""

    id: str
    name: str
    root_device: str
    root_gb: int
    others: dict[str, int] = {}


class Placement(msgspec.Struct, frozen=True):
    """Ids of the subnet and the security group of a launch."""

    subnet: str
    security_group: str


def candidates(spec: LaunchSpec, region: str, offerings: Mapping[str, Sequence[str]]) -> Iterator[Candidate]:
    """Yields candidates of a region: every zone of the first type, then of the next.

    offerings: type → zones.
    """
    for type_ in spec.types:
        for zone in sorted(offerings.get(type_, ())):
            if spec.zone in ("", zone):
                yield Candidate(region, zone, type_, spec.spot)


def client_token(attempt: str, candidate: Candidate) -> str:
    """Returns the idempotency token (64 characters): the same whenever the same request is sent again.

    It depends on the attempt. A token of the job alone would make every later launch fail once the first
    instance is terminated or the request has changed.
    """
    parts = (attempt, candidate.region, candidate.zone, candidate.type, candidate.market)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:64]


def tags(spec: LaunchSpec, attempt: str, version: str) -> dict[str, str]:
    """Returns the tags of an instance, its volumes and its network interface."""
    return {
        **spec.extra_tags,
        MANAGED: "1",
        ATTEMPT: attempt,
        JOB: spec.job,
        OWNER: spec.owner,
        CLIENT: spec.client,
        EXPIRES: str(int(spec.deadline)),
        **({GROUP: group_of(spec, attempt)} if spec.nodes > 1 else {}),
        f"{TAG}version": version,
        "Name": f"gpujob-{spec.job}",
    }


def group_of(spec: LaunchSpec, attempt: str) -> str:
    """Returns what the instances of a launch have in common; "" for a single one."""
    return "" if spec.nodes == 1 else spec.group or attempt


def require_tags(tags: Mapping[str, str]) -> None:
    """Raises UsageError for tags of a job that EC2 would refuse, or that are gpujob's."""
    key_of = "resources.ec2.tags"
    for key, value in tags.items():
        why = ""
        if not key.strip() or len(key) > _TAG_KEY:
            why = f"a key has 1 to {_TAG_KEY} characters"
        elif len(value) > _TAG_VALUE:
            why = f"a value has at most {_TAG_VALUE} characters"
        elif key.lower().startswith("aws:"):
            why = "AWS reserves keys that start with aws:"
        elif key.startswith(TAG) or key == "Name":
            why = "gpujob sets it"
        if why:
            raise UsageError(f"{key_of}: EC2 cannot have the tag {key[:40]!r}", why, "change the job file")
    if len(tags) > _TAGS - _OWN_TAGS:
        why = f"a resource has at most {_TAGS}, and gpujob sets {_OWN_TAGS}"
        raise UsageError(f"{key_of}: {len(tags)} are too many", why, "change the job file")


def to_tag_list(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Converts tags to the form of the API."""
    return [{"Key": key, "Value": value} for key, value in values.items()]


class TagSpecification(TypedDict):
    ResourceType: str
    Tags: list[dict[str, str]]


def tag_specifications(kinds: Iterable[str], values: Mapping[str, str]) -> list[TagSpecification]:
    return [{"ResourceType": kind, "Tags": to_tag_list(values)} for kind in kinds]


def run_instances_request(
    spec: LaunchSpec,
    candidate: Candidate,
    image: Image,
    placement: Placement,
    user_data: str,
    attempt: str,
    version: str,
) -> dict[str, Any]:
    """Returns the parameters of RunInstances: tags, encrypted disks, IMDSv2 and the token in the one call.

    An instance that shuts itself down is stopped and keeps its disk; one for an older volume is terminated.
    A spot request is persistent, so that EC2 starts an interrupted instance again: then it must never end by
    itself, since EC2 would launch another. Its run folder is on a volume of its own, which outlives it.
    """
    kinds = list(TAGGED_KINDS)
    request: dict[str, Any] = {
        "ImageId": image.id,
        "InstanceType": candidate.type,
        "MinCount": spec.count,
        "MaxCount": spec.count,
        "ClientToken": client_token(attempt, candidate),
        "UserData": user_data,
        "InstanceInitiatedShutdownBehavior": "stop" if candidate.spot or not spec.volume else "terminate",
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "InstanceMetadataTags": "disabled",
        },
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": placement.subnet,
                "AssociatePublicIpAddress": not spec.private_ip,
                "DeleteOnTermination": True,
                "Groups": [placement.security_group],
            }
        ],
        "BlockDeviceMappings": _disks(spec, image),
    }
    if spec.instance_profile:
        is_arn = spec.instance_profile.startswith("arn:")
        request["IamInstanceProfile"] = {"Arn" if is_arn else "Name": spec.instance_profile}
    if candidate.spot:
        kinds.append("spot-instances-request")
        options = {
            "SpotInstanceType": "persistent",
            "InstanceInterruptionBehavior": "stop",
            "ValidUntil": iso(spec.deadline),
        }
        request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    request["TagSpecifications"] = tag_specifications(kinds, tags(spec, attempt, version))
    return request


class _Ebs(TypedDict):
    VolumeSize: int
    VolumeType: str
    Encrypted: bool
    DeleteOnTermination: bool


class Ebs(_Ebs, total=False):
    KmsKeyId: str


class Disk(TypedDict):
    DeviceName: str
    Ebs: Ebs


def _disks(spec: LaunchSpec, image: Image) -> list[Disk]:
    """Returns every disk: one that the image alone describes may be unencrypted, and outlive the instance."""
    sizes = {image.root_device: max(spec.root_gb, image.root_gb), **image.others}
    disks = [
        _disk(device, gb, True, spec.kms_key)
        for device, gb in sizes.items()
        if device != DATA_DEVICE or not spec.data_gb
    ]
    return [*disks, _disk(DATA_DEVICE, spec.data_gb, False, spec.kms_key)] if spec.data_gb else disks


def _disk(device: str, size_gb: int, delete_on_termination: bool, kms_key: str) -> Disk:
    ebs: Ebs = {
        "VolumeSize": size_gb,
        "VolumeType": "gp3",
        "Encrypted": True,
        "DeleteOnTermination": delete_on_termination,
    }
    if kms_key:
        ebs["KmsKeyId"] = kms_key
    return {"DeviceName": device, "Ebs": ebs}
