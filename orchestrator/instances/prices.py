"""Estimates what an instance costs, before and after its launch: prices, quotes, sums. They are not bills."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.hostfacts import RunFacts
from orchestrator.errors import UsageError
from orchestrator.instances import spec
from orchestrator.instances.instance import Instance
from orchestrator.instances.spec import LaunchSpec

if TYPE_CHECKING:
    from orchestrator.core.spec import JobSpec
    from orchestrator.instances.cloud import Cloud

MIN_DISK_GB = 100
"""Default disk size in GB for a job without data: the image with its CUDA and PyTorch fills most of 60."""
SPOT_ROOT_GB = 60
"""Root disk of a spot instance in GB, about the size of the image; its data is on a separate volume."""
_DATA_FACTOR = 1.5  # room for the data, and for the caches that trainers make of it
HOURS_PER_MONTH = 730.0  # 365 days of 24 hours / 12, as AWS's calculator counts


@dataclass(frozen=True)
class InstanceType:
    """A GPU instance type. `usd`: on-demand price per hour in the table's region; None if there is none."""

    name: str
    gpu: str
    gpus: int
    gpu_mib: int
    vcpus: int
    memory_gib: float
    nvme_gb: int
    usd: float | None
    spot: bool


@dataclass(frozen=True)
class PriceTable:
    """The prices in types.json and their date, so that a quote needs no network."""

    as_of: str
    region: str
    gp3_gb_month: float
    ipv4_hour: float
    types: Mapping[str, InstanceType]

    def get(self, name: str) -> InstanceType:
        """Returns a type. UsageError with a suggestion if the table does not have it."""
        if name not in self.types:
            close = difflib.get_close_matches(name, self.types, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(self.types)}"
            raise UsageError(f"{name!r} is not a known GPU instance type", hint)
        return self.types[name]


@dataclass(frozen=True)
class HourlyPrice:
    """USD per hour of an instance, by part. The disk is billed while the instance is stopped, too."""

    instance: float
    disk: float
    address: float

    @property
    def running(self) -> float:
        return self.instance + self.disk + self.address

    def total(self, running_seconds: float, stopped_seconds: float = 0.0) -> float:
        """Returns USD for the seconds that an instance was running and stopped."""
        return (self.running * running_seconds + self.disk * stopped_seconds) / 3600.0

    def hours(self, usd: float) -> float:
        """Returns how many hours of a running instance an amount in USD pays for."""
        return usd / self.running


@cache
def table() -> PriceTable:
    """Returns the price table in types.json."""
    raw = json.loads(Path(__file__).with_name("types.json").read_text("utf-8"))
    types = {name: InstanceType(name=name, **values) for name, values in raw["types"].items()}
    return PriceTable(raw["as_of"], raw["region"], raw["gp3_gb_month"], raw["ipv4_hour"], types)


def hourly(usd_per_hour: float, disk_gb: int) -> HourlyPrice:
    """Returns the price of an instance with its disk and address. `usd_per_hour`: of the machine alone."""
    prices = table()
    return HourlyPrice(usd_per_hour, disk_gb * prices.gp3_gb_month / HOURS_PER_MONTH, prices.ipv4_hour)


def disk_per_month(disk_gb: int) -> float:
    """Returns USD per month for the disk of a stopped instance."""
    return disk_gb * table().gp3_gb_month


def of(instance: Instance) -> HourlyPrice:
    """Returns the price of an instance; of disk and address only if the machine's price is not known."""
    return hourly(instance.usd_per_hour or 0.0, instance.disk_gb)


def cost(instance: Instance, now: float) -> float:
    """Returns USD spent until `now`, assuming the state of the last check, but not past the deadline."""
    if not instance.has_ended:
        past_deadline = instance.is_billed and instance.runs_until(now) < now
        instance = instance.observe("stopped" if past_deadline else instance.state, now)
    return of(instance).total(instance.running_seconds, instance.stopped_seconds)


def worst_case(instance: Instance, now: float) -> float:
    """Returns USD spent by the deadline if the instance runs until then."""
    remaining = max(0.0, instance.deadline - now) if instance.is_billed else 0.0
    return cost(instance, now) + of(instance).total(remaining)


def run_cost(instance: Instance, run: RunFacts, now: float) -> float:
    """Returns USD for the time that a run has used this instance."""
    until = instance.runs_until(now) if instance.is_billed else 0.0
    return of(instance).total(run_seconds(run, until))


def run_seconds(run: RunFacts, until: float) -> float:
    """Returns the seconds that a run used its host, in all attempts; if it is active, up to `until`."""
    used = (run.state.used_seconds if run.state else None) or 0.0
    heartbeat = run.state.heartbeat if run.state and run.supervised and run.ended is None else None
    return used + (max(0.0, until - heartbeat) if heartbeat is not None else 0.0)


def current(cloud: Cloud, region: str, zone: str, type_: str, spot: bool) -> float | None:
    """Returns USD per hour of the machine alone: the zone's present spot price, else the on-demand price.

    None for a type without a price in the table.
    """
    from orchestrator.instances.errors import AwsError  # noqa: PLC0415 - `status` does not need it

    listed = table().types.get(type_)
    on_demand = listed.usd if listed else None
    if not spot:
        return on_demand
    try:
        answer = cloud.call(
            region,
            "describe_spot_price_history",
            InstanceTypes=[type_],
            AvailabilityZone=zone,
            ProductDescriptions=["Linux/UNIX"],
            MaxResults=1,
        )
        return float(answer["SpotPriceHistory"][0]["SpotPrice"])
    except (AwsError, LookupError, ValueError):
        return on_demand


@dataclass(frozen=True)
class Quote:
    """The price and limits of a launch, which the user must confirm.

    `price` is that of the most expensive type of the spec, so that the worst case holds for each of them.
    """

    spec: LaunchSpec
    price: HourlyPrice
    hours: float
    limited_by: str

    @property
    def worst_case(self) -> float:
        """USD if the instance runs until its deadline."""
        return self.price.running * self.hours

    def lines(self, ingress: str) -> list[str]:
        """Returns the lines that the user must confirm. `ingress`: the range that may reach port 22."""
        market = "spot (at most the on-demand price)" if self.spec.spot else "on demand"
        price = self.price
        parts = f"${price.instance:.3f} + disk ${price.disk:.3f} + address ${price.address:.3f}"
        end = "then it is stopped, and its disk is kept"
        if self.spec.spot:
            end = "then it is terminated; its run folder is kept on a volume"
        shown = table()
        disk_gb = max(self.spec.root_gb, self.spec.data_gb)
        return [
            f"{' or '.join(self.spec.types)}, {market}, in {', '.join(self.spec.regions)}",
            f"at most ${price.running:.3f} an hour ({parts}; prices of {shown.as_of}, {shown.region})",
            f"at most {self.hours:.4g} h ({self.limited_by}): ${self.worst_case:.2f}; {end}",
            f"disk {disk_gb} GB gp3, encrypted; port 22 open to {ingress} only",
        ]


def quote(job: JobSpec, region: str, now: float, owner: str, data_bytes: int) -> Quote:
    """Returns the quote for a job.

    UsageError for types that are unknown, have no price, or have too few GPUs.
    """
    ec2 = job.resources.ec2
    types = tuple(ec2.types) or spec.DEFAULT_TYPES
    disk_gb = _disk_gb(job, data_bytes)
    usd = max(_usd_per_hour(job, type_) for type_ in types)
    price = hourly(usd, disk_gb + (SPOT_ROOT_GB if ec2.spot else 0))
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
    kind = table().get(type_)
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
    """Returns the smallest of the limits in hours, and its name."""
    limits = {}
    if job.limits.max_hours is not None:
        limits["--max-hours"] = job.limits.max_hours
    if job.limits.budget_usd is not None:
        limits["--budget"] = price.hours(job.limits.budget_usd)
    if not limits:
        return spec.DEFAULT_HOURS, "default: no limit was given"
    name = min(limits, key=lambda key: limits[key])
    return limits[name], name
