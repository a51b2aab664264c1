"""What a launch would cost at most, before anything is sent to EC2: types, price, hours. Needs no network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from orchestrator.core.text import counted
from orchestrator.errors import UsageError
from orchestrator.instances import prices, spec
from orchestrator.instances.catalog import table
from orchestrator.instances.prices import HourlyPrice
from orchestrator.instances.spec import LaunchSpec

if TYPE_CHECKING:
    from orchestrator.core.spec import JobSpec
    from orchestrator.instances.instance import Instance

MIN_DISK_GB = 100
"""Default disk size in GB for a job without data: the image with its CUDA and PyTorch fills most of 60."""
FETCH_HOURS = 1.0
"""Hours for which an instance is launched or started to fetch from it."""
TRIAL_HOURS = 0.5
_STALE_DAYS = 180
_STALE = "these prices are {} days old, and AWS may have changed them: gpujob hosts types --refresh"
_UNBOOTED = (
    f"if it never boots, this command terminates it after {spec.BOOT_SECONDS / 60:.0f} min; "
    "if this client is gone too, nothing does: gpujob hosts orphans"
)
"""What ends an instance whose image or metadata service keeps it from setting its own deadline."""
_DATA_FACTOR = 1.5  # room for the data, and for the caches that trainers make of it
_DERIVED_TYPES = 4  # types to try where the job names none


class Quote(msgspec.Struct, frozen=True):
    """The price and limits of a launch, which the user must confirm.

    `hours` are those of each instance. `price` is that of one: the highest of all types of the spec in all
    its regions, so that the worst case holds for each. None if one of them has no known price, as `unpriced`
    says. by_region: USD per hour of all instances, of the most expensive type in each region. `as_of`: the
    days of the prices; age_days: of the oldest. `wait_hours`: how long to keep trying without capacity.
    """

    spec: LaunchSpec
    price: HourlyPrice | None
    hours: float
    limited_by: str
    as_of: str
    unpriced: str = ""
    wait_hours: float = 0.0
    by_region: tuple[tuple[str, float], ...] = ()
    age_days: int = 0

    @property
    def worst_case(self) -> float | None:
        """USD if all instances run until their deadline; None if the price is not known."""
        return None if self.usd_per_hour is None else self.usd_per_hour * self.hours

    @property
    def usd_per_hour(self) -> float | None:
        """USD for an hour of all instances; None if the price is not known."""
        return self.price.running * self.spec.count if self.price else None

    def lines(self, ssh_range: str | None) -> list[str]:
        """Returns the lines that the user must confirm.

        ssh_range: what may reach port 22; None before this client's own address is looked up.
        """
        market = "spot (at most the on-demand price)" if self.spec.spot and self.price else self._market
        end = "then it is stopped, and its disk is kept"
        if self.spec.keeps_volume:
            verb = "stopped" if self.spec.spot else "terminated"
            end = f"then it is {verb}; its run folder is kept on a volume"
        disk_gb = max(self.spec.root_gb, self.spec.data_gb) or self.spec.volume_gb
        each = " each" if self.spec.count > 1 else ""
        waits = (
            [f"waits up to {self.wait_hours:.4g} h for capacity, at this price"] if self.wait_hours else []
        )
        return [
            f"{self._instances()}, {market}, in {', '.join(self.spec.regions)}",
            *self._price_lines(end),
            *waits,
            f"disk {disk_gb} GB gp3{each}, encrypted; {self._access(ssh_range or 'this address/32')}",
            _UNBOOTED,
        ]

    @property
    def _market(self) -> str:
        return "spot" if self.spec.spot else "on demand"

    def _instances(self) -> str:
        types, count = " or ".join(self.spec.types), self.spec.count
        return types if count == 1 else f"{count} instances of one type in one zone, or none: {types}"

    def _access(self, ssh_range: str) -> str:
        where = f"in {self.spec.subnet}, " if self.spec.subnet else ""
        if self.spec.security_group:
            admits = ", which must admit its own members" if self.spec.nodes > 1 else ""
            return f"{where}security group {self.spec.security_group} as it is{admits}"
        first, last = spec.MEMBER_PORTS
        members = f"; TCP {first} to {last} open among the instances" if self.spec.nodes > 1 else ""
        return f"{where}port 22 open to {ssh_range} only{members}"

    def _price_lines(self, end: str) -> list[str]:
        price, count = self.price, self.spec.count
        hours = f"at most {self.hours:.4g} h ({self.limited_by})"
        if price is None:
            return [f"its price is not known: {self.unpriced}; AWS's price list has it", f"{hours}; {end}"]
        parts = f"${price.instance:.3f} + disk ${price.disk:.3f} + address ${price.address:.3f}"
        parts = f"{count} times {parts}" if count > 1 else parts
        where = ", ".join(self.spec.regions)
        each = ", ".join(f"{name} ${usd:.3f}" for name, usd in self.by_region)
        return [
            f"at most ${self.usd_per_hour:.3f} an hour ({parts}; prices of {self.as_of}, {where})",
            *([f"by region, an hour: {each}"] if len(self.by_region) > 1 else []),
            *([_STALE.format(self.age_days)] if self.age_days > _STALE_DAYS else []),
            f"{hours}: ${self.worst_case:.2f}; {end}",
        ]


def quote(job: JobSpec, region: str, now: float, owner: str, data_bytes: int) -> Quote:
    """Returns the quote for a job.

    UsageError for types, GPUs and regions that are unknown, for types with too few GPUs, and for a budget
    where a price is not known.
    """
    ec2, catalog = job.resources.ec2, table()
    spec.require_tags(ec2.tags)
    regions = tuple(ec2.regions) or (region,)
    days = sorted({catalog.region(name).as_of for name in regions})
    types = _types(job, regions)
    disk_gb = _disk_gb(job, data_bytes)
    unpriced = _unpriced(types, regions, ec2.spot)
    if unpriced and job.limits.budget_usd is not None:
        raise UsageError("--budget cannot be converted to hours", unpriced, "--max-hours H")
    all_gb = disk_gb + (spec.SPOT_ROOT_GB if ec2.spot else 0)
    price = None if unpriced else _highest(types, regions, all_gb)
    hours, limited_by = _hours(job, price)
    nodes = job.resources.nodes
    launch_spec = LaunchSpec(
        types=types,
        regions=regions,
        spot=ec2.spot,
        root_gb=0 if ec2.spot else disk_gb,
        data_gb=disk_gb if ec2.spot else 0,
        deadline=now + hours * 3600,
        login_user=ec2.user,
        owner=owner,
        job=job.name,
        images=tuple(ec2.images) or spec.IMAGES,
        subnet=ec2.subnet,
        security_group=ec2.security_group,
        extra_tags=ec2.tags,
        kms_key=ec2.kms_key,
        instance_profile=ec2.instance_profile,
        private_ip=ec2.private_ip,
        nodes=nodes,
    )
    each = [] if unpriced else [(one, _highest(types, (one,), all_gb).running * nodes) for one in regions]
    as_of, age = " and ".join(days), _age_days(days[0], now)
    return Quote(launch_spec, price, hours, limited_by, as_of, unpriced, by_region=tuple(each), age_days=age)


def _age_days(day: str, now: float) -> int:
    from datetime import datetime, timezone  # noqa: PLC0415 - 5 ms, for launches only

    try:
        return int((now - datetime.fromisoformat(day).replace(tzinfo=timezone.utc).timestamp()) / 86400)
    except ValueError:  # of a damaged file of refreshed prices
        return 0


def for_fetch(former: Instance, now: float, owner: str) -> Quote:
    """Returns the quote for an instance without GPUs that reads the data volume of `former` for an hour."""
    types, regions = tuple(table().rescue), (former.region,)
    unpriced = _unpriced(types, regions)
    launch_spec = LaunchSpec(
        types=types,
        regions=regions,
        spot=False,
        deadline=now + FETCH_HOURS * 3600,
        owner=owner,
        job=former.job,
        volume=former.volume or "",
        volume_gb=former.volume_gb,
        subnet=former.subnet,
        security_group="" if former.owns_group else former.security_group or "",
        extra_tags=former.extra_tags,
        private_ip=former.private_ip,
        rescue_of=former.id,
    )
    price = None if unpriced else _highest(types, regions, spec.SPOT_ROOT_GB + former.volume_gb)
    return Quote(launch_spec, price, FETCH_HOURS, "for the download", table().rescue_as_of, unpriced)


def for_trial(job: str, like: LaunchSpec, now: float, owner: str) -> Quote:
    """Returns the quote for a small instance without GPUs that is terminated after some minutes.

    like: a launch, of whose region, network, tags and key it is.
    """
    region = like.regions[0]
    types, as_of = tuple(table().rescue), table().rescue_as_of
    table().region(region)
    unpriced = _unpriced(types, (region,))
    launch_spec = LaunchSpec(
        types=types,
        regions=(region,),
        spot=False,
        root_gb=spec.SPOT_ROOT_GB,
        deadline=now + TRIAL_HOURS * 3600,
        owner=owner,
        job=job,
        subnet=like.subnet,
        security_group=like.security_group,
        extra_tags=like.extra_tags,
        kms_key=like.kms_key,
        private_ip=like.private_ip,
    )
    price = None if unpriced else _highest(types, (region,), spec.SPOT_ROOT_GB)
    return Quote(launch_spec, price, TRIAL_HOURS, "it is terminated after the checks", as_of, unpriced)


def _types(job: JobSpec, regions: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the types that the job names; else the cheapest with its GPUs that are sold in each region."""
    ec2, gpu, gpus, catalog = job.resources.ec2, job.resources.gpu, job.resources.gpus, table()
    for name in ec2.types:
        kind = catalog.get(name)
        if kind.gpus < gpus:
            why = f"resources.gpus asks for {gpus}"
            raise UsageError(
                f"resources.ec2.types: {name} has {counted(kind.gpus, 'GPU')}", why, "gpujob hosts types"
            )
        if gpu and kind.gpu.lower() != gpu.lower():
            why = f"resources.gpu asks for {gpu}"
            raise UsageError(
                f"resources.ec2.types: {name} has {kind.gpu}", why, f"gpujob hosts types --gpu {gpu}"
            )
    if ec2.types:
        return tuple(ec2.types)
    choices = [kind.name for kind in catalog.matching(gpu, max(1, gpus), regions)]
    if not choices:
        requirement = f"{counted(gpus, 'GPU')}{f' of {gpu}' if gpu else ''}"
        why = f"no known type with {requirement} has a price in {' and '.join(regions)}"
        raise UsageError("no instance type fits the job", why, "gpujob hosts types, and --region")
    usual = [name for name in spec.DEFAULT_TYPES if name in choices]
    return tuple(usual if usual and not gpu and gpus <= 1 else choices[:_DERIVED_TYPES])


def _unpriced(types: tuple[str, ...], regions: tuple[str, ...], is_spot: bool = False) -> str:
    """Returns a sentence about the types without a price, "" if there is none."""
    missing = [
        f"{name} in {region}" for region in regions for name in types if table().usd(name, region) is None
    ]
    if not missing:
        return ""
    only_spot = [name for name in types if _is_sold_as_spot_alone(name)]
    effect = "bounds that of spot" if is_spot else "is known: AWS sells it as spot"
    why = f"; no on-demand price of {' and '.join(only_spot)} {effect}" if only_spot else ""
    return f"the price table has no price of {', '.join(missing)}{why}"


def _is_sold_as_spot_alone(type_: str) -> bool:
    kind = table().types.get(type_)
    is_priced = any(table().usd(type_, region) is not None for region in table().regions)
    return kind is not None and kind.spot and not is_priced


def _highest(types: tuple[str, ...], regions: tuple[str, ...], disk_gb: int) -> HourlyPrice:
    every = [
        prices.hourly(table().usd(name, region) or 0.0, disk_gb, region)
        for name in types
        for region in regions
    ]
    return max(every, key=lambda price: price.running)


def _disk_gb(job: JobSpec, data_bytes: int) -> int:
    requested = (job.resources.disk_gb or 0) * 2**30  # resources.disk_gb is in GiB, as `df -h` counts
    return job.resources.ec2.disk_gb or MIN_DISK_GB + math.ceil((_DATA_FACTOR * data_bytes + requested) / 1e9)


def _hours(job: JobSpec, price: HourlyPrice | None) -> tuple[float, str]:
    """Returns the smallest of the limits in hours, and its name."""
    limits = {}
    if job.limits.max_hours is not None:
        limits["--max-hours"] = job.limits.max_hours
    if job.limits.budget_usd is not None and price:
        limits["--budget"] = price.hours(job.limits.budget_usd / job.resources.nodes)
    if not limits:
        return spec.DEFAULT_HOURS, "default: no limit was given"
    name = min(limits, key=lambda key: limits[key])
    return limits[name], name
