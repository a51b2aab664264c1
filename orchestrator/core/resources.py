"""What a run needs of its host: part of a job file, and recorded with each run."""

from __future__ import annotations

import msgspec


class Ec2(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The instance that is launched for a run. Lists are in order of preference."""

    types: list[str] = msgspec.field(default_factory=list)
    spot: bool = False
    disk_gb: int = 0
    regions: list[str] = msgspec.field(default_factory=list)
    images: list[str] = msgspec.field(default_factory=list)
    user: str = "ubuntu"
    subnet: str = ""
    security_group: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    kms_key: str = ""
    private_ip: bool = False
    instance_profile: str = ""


class Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run needs. On a host without GPU a trainer uses the CPU, and says so."""

    gpus: int = 1
    ec2: Ec2 = Ec2()
    disk_gb: float | None = None
    gpu: str | None = None
    nodes: int = 1
    master: str = ""
