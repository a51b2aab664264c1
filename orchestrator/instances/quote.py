"""What to launch for a job, until when, and what that costs at most. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.core.spec import JobSpec
from orchestrator.errors import UsageError
from orchestrator.instances import prices, spec
from orchestrator.instances.prices import HourlyPrice
from orchestrator.instances.spec import LaunchSpec

MIN_DISK_GB = 100
"""The image with its CUDA and PyTorch fills most of 60."""
SPOT_ROOT_GB = 60
"""About the size of the image: a spot instance has its data on a volume of their own."""
_DATA_FACTOR = 1.5  # room for the data, and for the caches that trainers make of it


@dataclass(frozen=True)
class Quote:
    """`price` is that of the most expensive type of the spec: the worst case holds for each of them."""

    spec: LaunchSpec
    price: HourlyPrice
    hours: float
    limited_by: str

    @property
    def worst_case(self) -> float:
        """USD if it runs until its deadline."""
        return self.price.running * self.hours

    def lines(self, ingress: str) -> list[str]:
        """What the user agrees to."""
        market = "spot (at most the on-demand price)" if self.spec.spot else "on demand"
        price = self.price
        parts = f"${price.instance:.3f} + disk ${price.disk:.3f} + address ${price.address:.3f}"
        end = "then it is stopped, and its disk is kept"
        if self.spec.spot:
            end = "then it is terminated; its run folder is kept on a volume"
        table = prices.table()
        disk_gb = max(self.spec.root_gb, self.spec.data_gb)
        return [
            f"{' or '.join(self.spec.types)}, {market}, in {', '.join(self.spec.regions)}",
            f"at most ${price.running:.3f} an hour ({parts}; prices of {table.as_of}, {table.region})",
            f"at most {self.hours:.4g} h ({self.limited_by}): ${self.worst_case:.2f}; {end}",
            f"disk {disk_gb} GB gp3, encrypted; port 22 open to {ingress} only",
        ]


def quote(job: JobSpec, region: str, now: float, owner: str, data_bytes: int) -> Quote:
    """UsageError for types that are unknown, have no price, or have too few GPUs."""
    ec2 = job.resources.ec2
    types = tuple(ec2.types) or spec.DEFAULT_TYPES
    disk_gb = _disk_gb(job, data_bytes)
    usd = max(_usd_per_hour(job, type_) for type_ in types)
    price = prices.hourly(usd, disk_gb + (SPOT_ROOT_GB if ec2.spot else 0))
    hours, limited_by = _hours(job, price)
    launch_spec = LaunchSpec(
        types=types,
        regions=tuple(ec2.regions) or (region,),
        spot=ec2.spot,
        root_gb=0 if ec2.spot else disk_gb,
        data_gb=disk_gb if ec2.spot else 0,
        deadline=now + hours * 3600,
        login_user=ec2.user,
        owner=owner,
        job=job.name,
        images=tuple(ec2.images) or spec.IMAGES,
    )
    return Quote(launch_spec, price, hours, limited_by)


def _usd_per_hour(job: JobSpec, type_: str) -> float:
    kind = prices.table().get(type_)
    if kind.gpus < job.resources.gpus:
        raise UsageError(
            f"resources.ec2.types: {type_} has {kind.gpus} GPU(s)",
            f"resources.gpus asks for {job.resources.gpus}",
        )
    if kind.usd is None:
        raise UsageError(f"resources.ec2.types: {type_} is not sold on demand", "its price is not known")
    return kind.usd


def _disk_gb(job: JobSpec, data_bytes: int) -> int:
    requested = (job.resources.disk_gb or 0) * 2**30  # resources.disk_gb is in GiB, as `df -h` counts
    return job.resources.ec2.disk_gb or MIN_DISK_GB + math.ceil((_DATA_FACTOR * data_bytes + requested) / 1e9)


def _hours(job: JobSpec, price: HourlyPrice) -> tuple[float, str]:
    """The smallest of the limits, and its name."""
    limits = {}
    if job.limits.max_hours is not None:
        limits["--max-hours"] = job.limits.max_hours
    if job.limits.budget_usd is not None:
        limits["--budget"] = price.hours(job.limits.budget_usd)
    if not limits:
        return spec.DEFAULT_HOURS, "default: no limit was given"
    name = min(limits, key=lambda key: limits[key])
    return limits[name], name
