"""What a box costs: by the hour, until its deadline, stopped. Pure; the table is given."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError

HOURS_A_MONTH = 730.0  # 365 days of 24 hours, by twelve; as AWS's own calculator takes it


@dataclass(frozen=True)
class InstanceType:
    """One instance type. `usd` an hour on demand where the table was taken; None: not sold so there."""

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
class Table:
    """The shipped prices and the day of them: no network is asked for a first answer."""

    as_of: str
    region: str
    gp3_gb_month: float
    ipv4_hour: float
    types: Mapping[str, InstanceType]

    def find(self, name: str) -> InstanceType:
        """UsageError with a guess for a type that is not in the table."""
        if name not in self.types:
            close = difflib.get_close_matches(name, self.types, n=1)
            guess = f"did you mean {close[0]}?" if close else f"known: {', '.join(self.types)}"
            raise UsageError(f"{name!r} is no GPU instance type that is known here", guess)
        return self.types[name]


@dataclass(frozen=True)
class Hourly:
    """Dollars an hour of a running box, each part by itself. The disk goes on while it is stopped."""

    instance: float
    disk: float
    address: float

    @property
    def running(self) -> float:
        return self.instance + self.disk + self.address


def table(raw: Mapping[str, Any]) -> Table:
    """types.json → Table."""
    types = {name: InstanceType(name=name, **values) for name, values in raw["types"].items()}
    return Table(raw["as_of"], raw["region"], raw["gp3_gb_month"], raw["ipv4_hour"], types)


def hourly(prices: Table, instance: float, disk_gb: int) -> Hourly:
    """`instance`: dollars an hour of the machine alone."""
    return Hourly(instance, disk_gb * prices.gp3_gb_month / HOURS_A_MONTH, prices.ipv4_hour)


def disk_month(prices: Table, disk_gb: int) -> float:
    """Dollars a month of a disk that is kept while its box is stopped."""
    return disk_gb * prices.gp3_gb_month


def hours_of(budget: float, price: Hourly) -> float:
    """How long a box may run for so many dollars."""
    return budget / price.running


def spent(price: Hourly, running: float, stopped: float = 0.0) -> float:
    """Dollars after so many seconds running and stopped."""
    return (price.running * running + price.disk * stopped) / 3600.0
