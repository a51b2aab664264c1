"""Instances, orphans and costs as rows for the view, and what goes on or costs in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.context import Context
from orchestrator.core import groups, runstate
from orchestrator.core.values import iso
from orchestrator.instances import prices
from orchestrator.instances.instance import Instance
from orchestrator.instances.inventory import Inventory
from orchestrator.instances.records import InstanceStore
from orchestrator.store import CachedRun, Store
from orchestrator.view import host_answers as answers
from orchestrator.view.instances import InstanceRow, LaunchRow

if TYPE_CHECKING:  # `status` does not load the EC2 API
    from orchestrator.instances.quote import Quote
    from orchestrator.instances.survey import Orphan


def launch(offer: Quote, ssh_cidr: str | None) -> LaunchRow:
    """What a dry run shows of a launch. EC2 is not asked."""
    offered = offer.spec
    content = answers.Launch(
        types=offered.types,
        regions=offered.regions,
        spot=offered.spot,
        nodes=offered.count,
        usd_per_hour=None if offer.usd_per_hour is None else round(offer.usd_per_hour, 4),
        usd_per_hour_by_region={name: round(usd, 4) for name, usd in offer.by_region},
        hours=round(offer.hours, 4),
        limited_by=offer.limited_by,
        worst_case_usd=None if offer.worst_case is None else round(offer.worst_case, 2),
        prices_as_of=offer.as_of,
        disk_gb=offered.root_gb + offered.data_gb,
        ssh_cidr=ssh_cidr,
    )
    return LaunchRow(tuple(offer.lines(ssh_cidr)), content)


def instance(of: Instance, now: float) -> InstanceRow:
    """An instance and what it costs."""
    same = ("id", "label", "type", "region", "zone", "spot", "state", "address", "job", "run", "volume")
    has_volume = of.volume and of.volume_until is None
    content = answers.Instance(
        **{field: getattr(of, field) for field in same},
        group=of.group or None,
        launched=iso(of.launched),
        ended=iso(of.ended),
        deadline=iso(of.deadline),
        volume_usd_per_month=round(prices.disk_per_month(of.volume_gb, of.region), 2) if has_volume else 0.0,
        usd_per_hour=round(prices.of(of).running, 4),
        disk_usd_per_month=round(prices.disk_per_month(of.disk_gb, of.region), 2),
        cost_usd=round(prices.cost(of, now), 4),
        worst_case_usd=round(prices.worst_case(of, now), 4),
    )
    return InstanceRow(content, of.deadline - now, of.ended is not None or of.has_ended)


def orphan(of: Orphan, now: float) -> answers.Orphan:
    one = of.resource
    return answers.Orphan(
        kind=one.kind,
        id=one.id,
        region=one.region,
        state=f"{one.gb} GB" if one.kind == "volume" else one.state,
        user=one.owner,
        job=one.job,
        why=of.why,
        late=one.is_expired(now),
        client=one.client,
        usd_per_month=_rounded(one.usd_per_month, 2),
        kept_because=of.kept_because or None,
    )


def resources(of: Inventory, now: float) -> list[answers.Resource]:
    """What costs money and is of no instance on record."""
    return [
        answers.Resource(
            kind=one.kind,
            id=one.id,
            region=one.region,
            state=one.state,
            type=one.type,
            size_gb=one.gb,
            user=one.owner,
            job=one.job,
            why=one.why,
            usd_per_month=_rounded(one.usd_per_month, 2),
            cost_usd=_rounded(one.usd(now), 4),
        )
        for one in of.unrecorded
    ]


def _rounded(usd: float | None, digits: int) -> float | None:
    return None if usd is None else round(usd, digits)


def cost(of: Instance, cached: dict[str, CachedRun], now: float) -> answers.InstanceCost:
    runs = {
        key: one.facts
        for key, one in cached.items()
        if of.label in groups.split(one.target) or key == of.run  # which another instance may have continued
    }
    usd = {run_id: prices.run_cost(of, run, now) for run_id, run in runs.items()}
    failed = {key for key, run in runs.items() if isinstance(runstate.fold(run, now), runstate.Failed)}
    total = prices.cost(of, now)
    useful = sum(each for run_id, each in usd.items() if run_id not in failed)
    return answers.InstanceCost(
        label=of.label,
        type=of.type,
        job=of.job,
        spot=of.spot,
        launched=iso(of.launched),
        state=of.state,
        cost_usd=round(total, 4),
        is_price_known=of.usd_per_hour is not None,
        wasted_usd=round(max(0.0, total - useful), 4),
        runs={run_id: round(each, 4) for run_id, each in usd.items()},
    )


def activity(ctx: Context) -> list[str]:
    """What runs or costs without gpujob, as far as the client knows; no host is asked.

    Runs that go on, the latest first, instances that are billed, and launches that were begun.
    """
    instances, now = InstanceStore(ctx.state_dir), ctx.now()
    cached = [run for run in Store(ctx.state_dir).runs().values() if runstate.is_going(run.facts, now)]
    rows = [f"{run.facts.id} on {run.target}" for run in reversed(cached)]
    rows += [
        f"{one.label} ({one.type}, ${prices.of(one).running:.3f}/h)"
        for one in instances.current()
        if one.is_billed
    ]
    return rows + [f"the launch of an instance for {one.spec.job}" for one in instances.attempts()]
