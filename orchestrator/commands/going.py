"""What runs or costs without gpujob, as far as the client knows; no host is asked."""

from __future__ import annotations

from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.instances import prices
from orchestrator.instances.records import InstanceStore
from orchestrator.store import Store


def describe(ctx: Context) -> list[str]:
    """Runs that go on, the latest first, instances that are billed, and launches that were begun."""
    instances, now = InstanceStore(ctx.state_dir), ctx.now()
    cached = [run for run in Store(ctx.state_dir).runs().values() if runstate.is_going(run.facts, now)]
    going = [f"{run.facts.id} on {run.target}" for run in reversed(cached)]
    going += [
        f"{one.label} ({one.type}, ${prices.of(one).running:.3f}/h)"
        for one in instances.current()
        if one.is_billed
    ]
    return going + [f"the launch of an instance for {one.spec.job}" for one in instances.attempts()]
