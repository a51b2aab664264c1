"""Estimates what an instance costs, by the hour and in all, and reads current prices from AWS."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from orchestrator.core.runfacts import RunFacts
from orchestrator.errors import GpujobError
from orchestrator.instances.catalog import RegionPrices, table
from orchestrator.instances.instance import Instance
from orchestrator.instances.spec import SPOT_ROOT_GB

if TYPE_CHECKING:
    from orchestrator.context import Context
    from orchestrator.instances.cloud import Cloud
    from orchestrator.instances.records import InstanceStore
    from orchestrator.instances.spec import Image, LaunchSpec

HOURS_PER_MONTH = 730.0  # 365 days of 24 hours / 12, as AWS's calculator counts
API_REGION = "us-east-1"
"""The Price List API has an endpoint here for the prices of all regions."""
_MACHINE = {
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "licenseModel": "No License required",
}


class HourlyPrice(msgspec.Struct, frozen=True):
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


def hourly(usd_per_hour: float, disk_gb: int, region: str) -> HourlyPrice:
    """Returns the price of an instance with its disk and address. `usd_per_hour`: of the machine alone."""
    return HourlyPrice(usd_per_hour, disk_per_month(disk_gb, region) / HOURS_PER_MONTH, table().ipv4_hour)


def disk_per_month(disk_gb: int, region: str) -> float:
    """Returns USD per month for the disk of a stopped instance, or for a volume."""
    return disk_gb * table().gp3_gb_month(region)


def larger_disk(launch_spec: LaunchSpec, image: Image, region: str, now: float) -> str:
    """Returns a sentence on what an image costs that needs larger disks than were quoted; else ""."""
    quoted = launch_spec.root_gb or SPOT_ROOT_GB
    needed = max(quoted, image.root_gb) + sum(image.others.values())
    if needed == quoted:
        return ""
    hours = max(0.0, launch_spec.deadline - now) / 3600
    usd = disk_per_month((needed - quoted) * launch_spec.count, region) / HOURS_PER_MONTH * hours
    return (
        f"{image.id} needs disks of {needed} GB, and {quoted} GB are in that price: "
        f"at most ${usd:.2f} more for {hours:.4g} h."
    )


def of(instance: Instance) -> HourlyPrice:
    """Returns the price of an instance; of disk and address only if the machine's price is not known."""
    return hourly(instance.usd_per_hour or 0.0, instance.disk_gb, instance.region)


def hours(instance: Instance, usd: float) -> float | None:
    """Returns how many hours of an instance an amount in USD pays for; None if its price is not known."""
    return None if instance.usd_per_hour is None else of(instance).hours(usd)


def at_most(instance: Instance, hours: float) -> str:
    """Returns the cost of some hours of an instance as words: a bound, or that its price is not known."""
    if instance.usd_per_hour is None:
        return f"its price in {instance.region} is not known"
    return f"at most ${of(instance).running * hours:.2f}"


def all_at_most(instances: Sequence[Instance], hours: float) -> str:
    """Returns the cost of some hours of all instances as words, as `at_most` does of one."""
    unknown = [one for one in instances if one.usd_per_hour is None]
    if unknown:
        return at_most(unknown[0], hours)
    return f"at most ${sum(of(one).running for one in instances) * hours:.2f}"


def cost(instance: Instance, now: float) -> float:
    """Returns USD spent until `now`, assuming the state of the last check, but not past the deadline."""
    if not instance.has_ended:
        past_deadline = instance.is_billed and instance.runs_until(now) < now
        instance = instance.observe("stopped" if past_deadline else instance.state, now)
    spent = of(instance).total(instance.running_seconds, instance.stopped_seconds)
    return spent + instance.earlier_usd + instance.volume_usd + kept_volume(instance, now)


def with_type(instance: Instance, type_: str, usd_per_hour: float | None, now: float) -> Instance:
    """Returns the record of an instance whose type was changed at `now`; what it cost before is kept."""
    observed = instance.observe(instance.state, now)
    spent = of(observed).total(observed.running_seconds, observed.stopped_seconds)
    return replace(
        observed,
        type=type_,
        usd_per_hour=usd_per_hour,
        running_seconds=0.0,
        stopped_seconds=0.0,
        earlier_usd=observed.earlier_usd + spent,
    )


def kept_volume(instance: Instance, now: float) -> float:
    """Returns USD until `now` for the volume that an instance left when it ended."""
    if not instance.volume or instance.ended is None:
        return 0.0
    until = now if instance.volume_until is None else min(now, instance.volume_until)
    hours = max(0.0, until - instance.ended) / 3600
    return disk_per_month(instance.volume_gb, instance.region) / HOURS_PER_MONTH * hours


def without_volume(instance: Instance, now: float) -> Instance:
    """Returns the record once its volume is deleted, or attached to another instance."""
    usd = instance.volume_usd + kept_volume(instance, now)
    return replace(instance, volume=None, volume_usd=usd)


def worst_case(instance: Instance, now: float) -> float:
    """Returns USD spent by the deadline if the instance runs until then."""
    remaining = max(0.0, instance.deadline - now) if instance.is_billed else 0.0
    return cost(instance, now) + of(instance).total(remaining)


def run_cost(instance: Instance, run: RunFacts, now: float) -> float:
    """Returns USD for the time that a run has used this instance, at most what the instance cost."""
    until = instance.runs_until(now) if instance.is_billed else 0.0
    usd = instance.usd_per_hour if instance.gpu_usd_per_hour is None else instance.gpu_usd_per_hour
    price = of(replace(instance, usd_per_hour=usd))
    return min(price.total(run.used_seconds(until)), cost(instance, now))


def group_cost(records: InstanceStore, label: str, run: RunFacts, now: float) -> float | None:
    """Returns USD for the time that a run has used its instances, those of all its hosts; None without any.

    With those that others have replaced. label: the host that it was read from.
    """
    hosts = run.group.hosts if run.group and label in run.group.hosts else (label,)
    instances = [one for host in hosts if (one := records.find_label(host))]
    known = {member.id: member for one in instances for member in records.of_group(one)}.values()
    return round(sum(run_cost(one, run, now) for one in known), 4) if known else None


def current(cloud: Cloud, region: str, zone: str, type_: str, spot: bool) -> float | None:
    """Returns USD per hour of the machine alone: the zone's present spot price, else the on-demand price.

    None where the catalog has no price of the type in this region.
    """
    from orchestrator.instances.errors import AwsError  # noqa: PLC0415 - `status` does not need it

    on_demand = table().usd(type_, region)
    if not spot:
        return on_demand
    try:
        return spot_prices(cloud, region, [type_], zone).get(type_, on_demand)
    except AwsError:
        return on_demand


def spot_prices(cloud: Cloud, region: str, types: Sequence[str], zone: str = "") -> dict[str, float]:
    """Returns the present spot price per hour of each type in its cheapest zone, or in `zone`."""
    from orchestrator.instances import answers  # noqa: PLC0415 - `status` does not need it

    lowest: dict[str, float] = {}
    history = cloud.all(
        region,
        "describe_spot_price_history",
        "SpotPriceHistory",
        answers.Price,
        InstanceTypes=list(types),
        ProductDescriptions=["Linux/UNIX"],
        StartTime=cloud.now(),
        **({"AvailabilityZone": zone} if zone else {}),
    )
    for each in history:
        with contextlib.suppress(ValueError):
            name, usd = each.instance_type, float(each.spot_price)
            lowest[name] = min(usd, lowest.get(name, usd))
    return lowest


def fetch_on_demand(ctx: Context, cloud: Cloud, region: str) -> RegionPrices:
    """Returns today's prices of every type of the catalog that the region sells on demand."""
    from datetime import datetime, timezone  # noqa: PLC0415 - 5 ms that `status` does not need

    usd = {}
    for name in table().types:
        ctx.talk(f"{region}: {name}")
        if price := _list_price(cloud, {**_MACHINE, "regionCode": region, "instanceType": name}):
            usd[name] = price
    if not usd:
        raise GpujobError(f"AWS's price list has no GPU type in {region}", "", "gpujob hosts types")
    gp3 = _list_price(cloud, {"regionCode": region, "volumeApiName": "gp3", "productFamily": "Storage"})
    day = datetime.fromtimestamp(ctx.now(), timezone.utc).strftime("%Y-%m-%d")
    return RegionPrices(day, gp3 or table().gp3_gb_month(region), usd)


def _list_price(cloud: Cloud, attributes: dict[str, str]) -> float | None:
    """Returns the highest on-demand price of the products with these attributes; None if there are none."""
    from orchestrator.instances import answers  # noqa: PLC0415 - `status` does not need it

    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in attributes.items()]
    answer = cloud.read(
        API_REGION,
        "get_products",
        answers.Products,
        service="pricing",
        ServiceCode="AmazonEC2",
        Filters=filters,
    )
    return max((price for product in answer.price_list for price in _list_prices(product)), default=None)


def _list_prices(product: str) -> Iterator[float]:
    """Yields the prices in USD above zero of a product, which the API returns as JSON text."""
    try:
        terms: Any = json.loads(product)["terms"]["OnDemand"].values()
        for term in terms:
            for dimension in term["priceDimensions"].values():
                if (usd := float(dimension["pricePerUnit"]["USD"])) > 0:
                    yield usd
    except (ValueError, LookupError, TypeError, AttributeError):
        return
