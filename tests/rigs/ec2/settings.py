"""Settings of the simulation, which a test may change while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Settings:
    """Times in seconds.

    kind: `plain` or `booted` machines. boot: from `running` to power on, as sshd answers late on EC2.
    hidden: how long a new instance is unknown to every other call. hidden_calls: how many calls of gpujob at
    most do not know a new resource (Visibility). stale: how long a started instance still shows as stopped.
    caller: the address that the security groups see. gpu_driver: of new machines, ok, missing or mismatch.
    machines: without, an instance is only a record. regions: those that the account has opted in to, as
    DescribeRegions lists them. policy: the IAM policy of gpujob's user; None allows all.
    """

    kind: str = "plain"
    pending: float = 0.2
    stopping: float = 0.2
    boot: float = 0.0
    hidden: float = 0.0
    hidden_calls: int = 2
    stale: float = 0.1
    caller: str = "198.51.100.7"
    disk_mb: int = 4096
    gpu_driver: str = "ok"
    user: str = "ubuntu"
    machines: bool = True
    regions: list[str] = field(default_factory=lambda: ["eu-west-1", "us-east-1", "us-west-2"])
    policy: dict[str, Any] | None = None
    visible: list[str] = field(default_factory=list)
