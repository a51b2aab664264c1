"""What is left of the limits of a run: its hours over all attempts, its budget over all instances."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from orchestrator.context import Context
from orchestrator.core import groups
from orchestrator.core.inputs import PlanInputs
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.runjson import LimitChanges
from orchestrator.core.spec import Limits
from orchestrator.core.values import require_positive
from orchestrator.errors import GpujobError, UsageError
from orchestrator.targets.base import Host

MIN_HOURS = 0.1
"""Less than this is no time to resume in on an instance: it boots for half of it."""


class Left(msgspec.Struct, frozen=True):
    """used: hours of all attempts so far. hours, budget_usd: what is left of each; None where not limited.

    budget: the budget of the whole run. is_new: the command gave new limits.
    """

    used: float
    hours: float | None
    budget_usd: float | None
    budget: float | None
    is_new: bool

    @property
    def limits(self) -> Limits:
        """The limits of an instance that the run continues on."""
        return Limits(max_hours=self.hours, budget_usd=self.budget_usd)

    def for_run(self, affordable: float | None) -> LimitChanges | None:
        """The limits of the run, to be recorded on its host; None where they stay as they are.

        affordable: the hours that the rest of the budget pays for on the host; None where that is not known.
        """
        known = [hours for hours in (self.hours, affordable) if hours is not None]
        if not known or not (self.is_new or self.budget is not None):
            return None
        paid = None if affordable is None else self.used + affordable
        return LimitChanges(self.used + min(known), self.budget, paid)


def left(ctx: Context, run: RunFacts, max_hours: float | None, budget: float | None) -> Left:
    """What is left for a run that is to be resumed; `max_hours` and `budget` replace its limits, as totals.

    GpujobError where nothing is left.
    """
    from orchestrator.instances import prices  # noqa: PLC0415 - a new run needs nothing of EC2
    from orchestrator.instances.records import InstanceStore  # noqa: PLC0415

    require_positive("--max-hours", max_hours)
    require_positive("--budget", budget)
    recorded = run.record.limits if run.record else Limits()
    used = run.used_seconds(ctx.now()) / 3600
    total_usd = recorded.budget_usd if budget is None else budget
    total_hours = recorded.max_hours if max_hours is None and budget is None else max_hours
    # All instances that were launched for the run, the latest last, with the disks that they left.
    instances = [one for one in InstanceStore(ctx.state_dir).all() if one.run == run.id]
    spent = sum(prices.cost(instance, ctx.now()) for instance in instances)
    least = prices.of(instances[-1]).running * MIN_HOURS if instances else 0.0
    usd = None if total_usd is None else total_usd - spent
    hours = None if total_hours is None else total_hours - used
    if total_usd is not None and usd is not None and usd <= least:
        what = f"the budget of {run.id} is spent"
        if usd > 0:
            minutes = f"{60 * MIN_HOURS:.0f} minutes of {instances[-1].type}"
            what = f"the budget of {run.id} does not pay for another {minutes}"
        why = f"${spent:.2f} of ${total_usd:.2f} is spent, over all its instances; --budget is a total"
        more = math.ceil(spent + total_usd)
        raise GpujobError(what, why, f"gpujob deploy --resume {run.id} --budget {more}")
    if total_hours is not None and hours is not None and hours <= (MIN_HOURS if instances else 0):
        what = f"the hours of {run.id} are used up"
        why = f"{used:.2f} of {total_hours:.4g}, over all its attempts; --max-hours is a total"
        more = math.ceil(used + total_hours)
        raise GpujobError(what, why, f"gpujob deploy --resume {run.id} --max-hours {more}")
    return Left(used, hours, usd, total_usd, max_hours is not None or budget is not None)


def affordable_hours(hosts: Sequence[Host], budget_usd: float) -> float | None:
    """The hours of all hosts together that a budget pays for; None if the price of one is not known."""
    each = [host.hours_for(budget_usd) for host in hosts]
    known = [hours for hours in each if hours]
    return 1 / sum(1 / hours for hours in known) if len(known) == len(each) else None


def with_budget(ctx: Context, inputs: PlanInputs, hosts: Sequence[Host], option: float | None) -> PlanInputs:
    """Of a job with a budget: the inputs with the hours that it pays for on all hosts.

    Where a price is not known: UsageError with `option`, which is --budget, else the budget is ignored.
    """
    limits = inputs.job.limits
    assert limits.budget_usd is not None
    hours, label = affordable_hours(hosts, limits.budget_usd), groups.join([host.label for host in hosts])
    if hours is None and option is not None:
        why = f"the price of {label} is not known"
        raise UsageError("--budget cannot be converted to hours", why, "--max-hours H")
    if hours is None:
        ctx.warn(f"limits.budget_usd is ignored: the price of {label} is not known")
        return inputs
    inputs = replace(inputs, budget_hours=hours)
    if limits.max_hours is not None and limits.max_hours <= hours:
        return inputs
    return replace(inputs, job=replace(inputs.job, limits=replace(limits, max_hours=hours)))
