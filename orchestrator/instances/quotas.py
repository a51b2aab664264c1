"""AWS's quotas that a launch may exceed: which one an instance type or a volume counts for."""

from __future__ import annotations

import msgspec

from orchestrator.instances.spec import Candidate

_OF_VOLUMES = ("VolumeLimitExceeded", "MaxIOPSLimitExceeded", "Client.VolumeLimitExceeded")
_OLD_P = ("p2", "p3", "p4")


class Quota(msgspec.Struct, frozen=True):
    """A quota of a region. code: None if it is to be looked up, by words in its name."""

    service: str
    region: str
    name: str
    words: tuple[str, ...]
    code: str | None = None

    @property
    def command(self) -> str:
        """Returns the command that asks AWS to raise it, or that finds its code."""
        if self.code:
            return (
                f"aws service-quotas request-service-quota-increase --service-code {self.service} "
                f"--quota-code {self.code} --region {self.region} --desired-value VALUE"
            )
        return f"aws service-quotas list-service-quotas --service-code {self.service} --region {self.region}"

    def __str__(self) -> str:
        return f"{self.code} ({self.name})" if self.code else self.name

    def matches(self, name: str) -> bool:
        """Returns whether a quota that AWS lists under this name is this one."""
        return all(word in name.replace(",", " ").split() for word in self.words)


def of(candidate: Candidate, error_code: str = "") -> Quota:
    """Returns the quota that a candidate counts for; with `error_code`, the one that this error is about.

    Codes: those of G, VT and P instances that dstack and SkyPilot publish. P5 and newer have quotas of their
    own for spot, and P6 also on demand.
    """
    region, generation = candidate.region, candidate.type[:2]
    if error_code in _OF_VOLUMES:
        return Quota("ebs", region, "the storage or IOPS of EBS volumes", ("gp3",))
    if candidate.type.startswith(("g", "vt")):
        if candidate.spot:
            return Quota("ec2", region, "spot vCPUs of G and VT", ("G", "Spot"), "L-3819A6DF")
        return Quota("ec2", region, "on-demand vCPUs of G and VT", ("On-Demand", "G"), "L-DB2E81BA")
    if candidate.spot and generation in _OLD_P:
        return Quota("ec2", region, "spot vCPUs of P4, P3 and P2", ("P4", "Spot"), "L-7212CCBC")
    if not candidate.spot and generation in (*_OLD_P, "p5"):
        return Quota("ec2", region, "on-demand vCPUs of P", ("On-Demand", "P"), "L-417A185B")
    family = generation.upper()
    words = (family, "Spot") if candidate.spot else (family, "On-Demand")
    return Quota("ec2", region, f"{candidate.market} vCPUs of {family}", words)
