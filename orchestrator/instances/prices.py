"""What an instance costs: the shipped price table, the spot price now, and sums. Estimates, not bills."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.runfacts import RunFacts
from orchestrator.errors import UsageError
from orchestrator.instances.instance import Instance

if TYPE_CHECKING:
    from orchestrator.instances.cloud import Cloud

HOURS_PER_MONTH = 730.0  # 365 days of 24 hours / 12, as AWS's calculator counts


@dataclass(frozen=True)
class InstanceType:
    """`usd`: on-demand price per hour in the table's region; None where it is not sold on demand."""

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
    """The shipped prices and their date, so that a quote needs no network."""

    as_of: str
    region: str
    gp3_gb_month: float
    ipv4_hour: float
    types: Mapping[str, InstanceType]

    def get(self, name: str) -> InstanceType:
        """UsageError with a suggestion for a type that is not in the table."""
        if name not in self.types:
            close = difflib.get_close_matches(name, self.types, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(self.types)}"
            raise UsageError(f"{name!r} is not a known GPU instance type", hint)
        return self.types[name]


@dataclass(frozen=True)
class HourlyPrice:
    """USD per hour of a running instance by part. The disk is billed while it is stopped, too."""

    instance: float
    disk: float
    address: float

    @property
    def running(self) -> float:
        return self.instance + self.disk + self.address

    def total(self, running_seconds: float, stopped_seconds: float = 0.0) -> float:
        """USD for so many seconds running and stopped."""
        return (self.running * running_seconds + self.disk * stopped_seconds) / 3600.0

    def hours(self, usd: float) -> float:
        """How many hours of running so many USD pay for."""
        return usd / self.running


@cache
def table() -> PriceTable:
    """The table in types.json."""
    raw = json.loads(Path(__file__).with_name("types.json").read_text("utf-8"))
    types = {name: InstanceType(name=name, **values) for name, values in raw["types"].items()}
    return PriceTable(raw["as_of"], raw["region"], raw["gp3_gb_month"], raw["ipv4_hour"], types)


def hourly(usd_per_hour: float, disk_gb: int) -> HourlyPrice:
    """`usd_per_hour`: of the machine alone."""
    prices = table()
    return HourlyPrice(usd_per_hour, disk_gb * prices.gp3_gb_month / HOURS_PER_MONTH, prices.ipv4_hour)


def disk_per_month(disk_gb: int) -> float:
    """USD per month of a disk whose instance is stopped."""
    return disk_gb * table().gp3_gb_month


def of(instance: Instance) -> HourlyPrice:
    """Its price; of a machine whose price is not known, only disk and address."""
    return hourly(instance.usd_per_hour or 0.0, instance.disk_gb)


def cost(instance: Instance, now: float) -> float:
    """USD until now. Since the last check it is taken to be in the same state, but not past its deadline."""
    if not instance.has_ended:
        past_deadline = instance.is_billed and instance.runs_until(now) < now
        instance = instance.observe("stopped" if past_deadline else instance.state, now)
    return of(instance).total(instance.running_seconds, instance.stopped_seconds)


def worst_case(instance: Instance, now: float) -> float:
    """USD if it runs until its deadline."""
    remaining = max(0.0, instance.deadline - now) if instance.is_billed else 0.0
    return cost(instance, now) + of(instance).total(remaining)


def run_cost(instance: Instance, run: RunFacts, now: float) -> float:
    """USD of the time that a run has used this instance, from the run's facts."""
    until = instance.runs_until(now) if instance.is_billed else 0.0
    return of(instance).total(run_seconds(run, until))


def run_seconds(run: RunFacts, until: float) -> float:
    """Seconds that a run used its host, over all attempts; one that was active is taken to last `until`."""
    used = (run.state.used_seconds if run.state else None) or 0.0
    heartbeat = run.state.heartbeat if run.state and run.supervised and run.ended is None else None
    return used + (max(0.0, until - heartbeat) if heartbeat is not None else 0.0)


def current(cloud: Cloud, region: str, zone: str, type_: str, spot: bool) -> float | None:
    """USD per hour of the machine alone: the spot price in that zone now, else the on-demand price.

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
