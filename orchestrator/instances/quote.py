"""A job → the box it wants, until when, and what that costs at most. Pure: nothing is asked of EC2."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from orchestrator.core.plan import Plan, Step
from orchestrator.core.spec import JobSpec
from orchestrator.errors import UsageError
from orchestrator.instances import launch, pricing
from orchestrator.instances.launch import Want
from orchestrator.instances.pricing import Hourly, Table

LEAST_DISK = 100
"""GB: the image with its CUDA and PyTorch takes most of 60."""
ROOT_DISK = 60
"""GB: about the image of a spot box, whose data lie on a volume of their own."""
_ROOM = 1.5  # of the data: what a trainer makes of it once, beside it


@dataclass(frozen=True)
class Quote:
    """`price` is that of the dearest type that may be taken: the worst case holds for all of them."""

    want: Want
    price: Hourly
    hours: float
    limited_by: str
    as_of: str

    @property
    def worst(self) -> float:
        """Dollars, if it runs to its deadline."""
        return self.price.running * self.hours


def quote(job: JobSpec, prices: Table, region: str, now: float, who: str, data_bytes: int) -> Quote:
    """UsageError for types that are not known, have no price, or have too few GPUs."""
    ec2 = job.resources.ec2
    types = tuple(ec2.types) or launch.DEFAULT_TYPES
    disk = _disk(job, data_bytes) + (ROOT_DISK if ec2.spot else 0)
    price = pricing.hourly(prices, max(_usd(prices, name, job) for name in types), disk)
    hours, limited_by = _hours(job, price)
    want = Want(
        types=types,
        regions=tuple(ec2.regions) or (region,),
        spot=ec2.spot,
        disk_gb=0 if ec2.spot else _disk(job, data_bytes),
        data_gb=_disk(job, data_bytes) if ec2.spot else 0,
        deadline=now + hours * 3600,
        user=ec2.user,
        who=who,
        job=job.name,
        images=tuple(ec2.images) or launch.IMAGES,
    )
    return Quote(want, price, hours, limited_by, prices.as_of)


def _usd(prices: Table, name: str, job: JobSpec) -> float:
    found = prices.find(name)
    if found.gpus < job.resources.gpus:
        raise UsageError(
            f"resources.ec2.types: {name} has {found.gpus} GPU(s)",
            f"resources.gpus asks for {job.resources.gpus}",
        )
    if found.usd is None:
        raise UsageError(f"resources.ec2.types: {name} is not sold on demand", "its price is not known here")
    return found.usd


def _disk(job: JobSpec, data_bytes: int) -> int:
    asked = (job.resources.disk_gb or 0) * 2**30  # resources.disk_gb counts as `deploy` and `df -h` do
    return job.resources.ec2.disk_gb or LEAST_DISK + math.ceil((_ROOM * data_bytes + asked) / 1e9)


def _hours(job: JobSpec, price: Hourly) -> tuple[float, str]:
    """The least of the limits, and its name."""
    limits = {"--max-hours": job.limits.max_hours}
    if job.limits.budget_usd is not None:
        limits["--budget"] = pricing.hours_of(job.limits.budget_usd, price)
    given = {name: hours for name, hours in limits.items() if hours is not None}
    if not given:
        return launch.DEFAULT_HOURS, "no limit was given"
    name = min(given, key=lambda key: given[key])
    return given[name], name


def lines(given: Quote, ingress: str) -> list[str]:
    """What a person agrees to."""
    want, price = given.want, given.price
    market = "spot (at most the on-demand price)" if want.spot else "on demand"
    parts = f"${price.instance:.3f} + disk ${price.disk:.3f} + address ${price.address:.3f}"
    ends = (
        "it ends then; its run folder stays on a volume" if want.spot else "it is stopped then, its disk kept"
    )
    return [
        f"{' or '.join(want.types)}, {market}, in {', '.join(want.regions)}",
        f"at most ${price.running:.3f} an hour ({parts}; prices of {given.as_of}, us-east-1)",
        f"at most {given.hours:.4g} h ({given.limited_by}): ${given.worst:.2f}; {ends}",
        f"disk {max(want.disk_gb, want.data_gb)} GB gp3, encrypted; port 22 open to {ingress} alone",
    ]


def launch_step(given: Quote, ingress: str) -> Step:
    want = given.want
    title = f"launch {' or '.join(want.types)}"
    return Step(title, "; ".join(lines(given, ingress)[1:]))


def preview(plan: Plan, given: Quote, ingress: str) -> Plan:
    """The plan of a job for a box that is still to be launched."""
    return replace(plan, target="ec2", steps=(launch_step(given, ingress), *plan.steps))
