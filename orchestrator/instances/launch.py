"""What is asked of EC2 for one box: candidates in order, their tokens, the request. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TAG = "gpujob:"
MANAGED = f"{TAG}managed"
ATTEMPT = f"{TAG}attempt"
DEFAULT_TYPES = ("g6.xlarge", "g5.xlarge", "g6.2xlarge", "g5.2xlarge")
DEFAULT_HOURS = 24.0
"""A box that nobody gave a limit ends after a day: no box is without one."""
BOOT_SECONDS = 20 * 60
"""A box that nothing of ours has reached by then ends: its boot failed."""
DATA_DEVICE = "/dev/sdf"
IMAGES = (
    *("oss-nvidia-driver-gpu-pytorch-2.13-ubuntu-26.04", "oss-nvidia-driver-gpu-pytorch-2.12-ubuntu-24.04"),
    *("oss-nvidia-driver-gpu-pytorch-2.10-ubuntu-24.04",),
)
"""Names below /aws/service/deeplearning/ami/x86_64/; the first that a region knows is taken."""
IMAGE_NAMES = "Deep Learning OSS Nvidia Driver AMI GPU PyTorch * (Ubuntu *) *"
"""What DescribeImages is asked for where no name resolves."""


PREFIX = "ec2://"


def label(box_id: str) -> str:
    """What a user types after --on."""
    return f"{PREFIX}{box_id}"


@dataclass(frozen=True)
class Want:
    """A box as it is asked for. `deadline`: seconds since 1970, absolute; `data_gb`: 0 for no new volume.

    `volume`: one that stands and is to be attached, which binds the box to its `zone`.
    """

    types: tuple[str, ...]
    regions: tuple[str, ...]
    spot: bool
    disk_gb: int
    data_gb: int
    deadline: float
    user: str
    who: str
    job: str
    images: tuple[str, ...] = IMAGES
    zone: str = ""
    volume: str = ""


@dataclass(frozen=True)
class Candidate:
    """One place where one type may be had."""

    region: str
    zone: str
    type: str
    spot: bool

    @property
    def market(self) -> str:
        return "spot" if self.spot else "on-demand"

    @property
    def family(self) -> str:
        """As quotas group types: P apart, G and VT together."""
        return "P" if self.type.startswith("p") else "G and VT"

    def __str__(self) -> str:
        return f"{self.type} {self.market} in {self.zone}"


Offered = Mapping[tuple[str, str], Sequence[str]]
"""(region, type) → zones that offer it."""


def candidates(want: Want, region: str, offered: Offered) -> Iterator[Candidate]:
    """Zone after zone of the first type, then the next type, of one region."""
    for kind in want.types:
        for zone in sorted(offered.get((region, kind), ())):
            if want.zone in ("", zone):
                yield Candidate(region, zone, kind, want.spot)


def token(attempt: str, at: Candidate) -> str:
    """The ClientToken (at most 64 characters): one a place and attempt, the same when it is sent again.

    A token of the job's name alone would break every retry after a change, or a termination.
    """
    whole = "\0".join((attempt, at.region, at.zone, at.type, at.market))
    return hashlib.sha256(whole.encode()).hexdigest()[:64]


def tags(want: Want, attempt: str, version: str) -> dict[str, str]:
    """On instance, volume and interface, from the call that makes them."""
    return {
        MANAGED: "1",
        ATTEMPT: attempt,
        f"{TAG}job": want.job,
        f"{TAG}user": want.who,
        f"{TAG}expires-at": str(int(want.deadline)),
        f"{TAG}version": version,
        "Name": f"gpujob-{want.job}",
    }


def as_tags(values: Mapping[str, str]) -> list[dict[str, str]]:
    """As the API wants them."""
    return [{"Key": key, "Value": value} for key, value in values.items()]


def tagged(kinds: Iterable[str], values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": as_tags(values)} for kind in kinds]


def read_tags(found: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Tags of an answer, by key."""
    return {tag["Key"]: tag["Value"] for tag in found}


@dataclass(frozen=True)
class Image:
    """An AMI: its root disk must not be made smaller than it is."""

    id: str
    name: str
    root_device: str
    root_gb: int


@dataclass(frozen=True)
class Network:
    """Where in a region a box lies: the default subnet of a zone, and our security group."""

    subnet: str
    group: str


def request(
    want: Want, at: Candidate, image: Image, network: Network, user_data: str, attempt: str, version: str
) -> dict[str, Any]:
    """RunInstances, whole: tagged in the same call, disks encrypted, IMDSv2 alone, its token in it.

    An on-demand box that switches itself off is stopped and keeps its disk; a spot box can only end,
    which is why its data volume outlives it.
    """
    values = tags(want, attempt, version)
    kinds = ["instance", "volume", "network-interface"] + (["spot-instances-request"] if at.spot else [])
    whole: dict[str, Any] = {
        "ImageId": image.id,
        "InstanceType": at.type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": token(attempt, at),
        "UserData": user_data,
        "InstanceInitiatedShutdownBehavior": "terminate" if at.spot else "stop",
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "InstanceMetadataTags": "disabled",
        },
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": network.subnet,
                "AssociatePublicIpAddress": True,
                "DeleteOnTermination": True,
                "Groups": [network.group],
            }
        ],
        "BlockDeviceMappings": _disks(want, image),
        "TagSpecifications": tagged(kinds, values),
    }
    if at.spot:
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        whole["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    return whole


def _disks(want: Want, image: Image) -> list[dict[str, Any]]:
    root = _disk(image.root_device, max(want.disk_gb, image.root_gb), ends_with_it=True)
    return [root, _disk(DATA_DEVICE, want.data_gb, ends_with_it=False)] if want.data_gb else [root]


def _disk(device: str, size_gb: int, ends_with_it: bool) -> dict[str, Any]:
    ebs = {
        "VolumeSize": size_gb,
        "VolumeType": "gp3",
        "Encrypted": True,
        "DeleteOnTermination": ends_with_it,
    }
    return {"DeviceName": device, "Ebs": ebs}
