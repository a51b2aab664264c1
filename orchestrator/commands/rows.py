"""Instances, orphans and costs as rows for the view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.core import runstate
from orchestrator.instances import prices
from orchestrator.instances.instance import Instance
from orchestrator.store import CachedRun
from orchestrator.view.instances import CostRow, InstanceRow

if TYPE_CHECKING:  # `status` does not load the EC2 API
    from orchestrator.instances.orphans import Orphan


def instance(of: Instance, now: float) -> InstanceRow:
    """An instance and what it costs."""
    fields = ("id", "type", "region", "zone", "spot", "state", "address", "job", "run", "launched", "ended")
    return InstanceRow(
        **{field: getattr(of, field) for field in fields},
        deadline=of.deadline,
        volume=of.volume,
        remaining=of.deadline - now,
        usd_per_hour=prices.of(of).running,
        disk_usd_per_month=prices.disk_per_month(of.disk_gb),
        cost=prices.cost(of, now),
        worst_case=prices.worst_case(of, now),
    )


def orphan(of: Orphan) -> dict[str, Any]:
    """For --json."""
    return {
        "kind": {"instance": "box"}.get(of.kind, of.kind),
        "id": of.id,
        "region": of.region,
        "state": of.state,
        "user": of.owner,
        "job": of.job,
        "why": of.why,
        "late": of.is_expired,
    }


def cost(of: Instance, cached: dict[str, CachedRun], now: float) -> CostRow:
    runs = {key: one.facts for key, one in cached.items() if one.target == of.label}
    usd = {run_id: prices.run_cost(of, run, now) for run_id, run in runs.items()}
    failed = {key for key, run in runs.items() if isinstance(runstate.fold(run, now), runstate.Failed)}
    total = prices.cost(of, now)
    useful = sum(each for run_id, each in usd.items() if run_id not in failed)
    return CostRow(
        label=of.label,
        type=of.type,
        job=of.job,
        spot=of.spot,
        launched=of.launched,
        state=of.state,
        usd=round(total, 4),
        is_price_known=of.usd_per_hour is not None,
        wasted_usd=round(max(0.0, total - useful), 4),
        runs={run_id: round(each, 4) for run_id, each in usd.items()},
    )
