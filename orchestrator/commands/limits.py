"""What is left of the limits of a run: its hours over all attempts, its budget over all instances."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from orchestrator.context import Context
from orchestrator.core.hostfacts import RunFacts
from orchestrator.core.spec import Limits, require_positive
from orchestrator.errors import GpujobError
from orchestrator.targets.base import Host


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

    def for_run(self, affordable: float | None) -> dict[str, float] | None:
        """The limits of the run, to be recorded on its host; None where they stay as they are.

        affordable: the hours that the rest of the budget pays for on the host; None where that is not known.
        """
        known = [hours for hours in (self.hours, affordable) if hours is not None]
        if not known or not (self.is_new or self.budget is not None):
            return None
        budget = {} if self.budget is None else {"budget_usd": self.budget}
        paid = {} if affordable is None else {"budget_hours": self.used + affordable}
        return {"max_hours": self.used + min(known), **budget, **paid}


def left(ctx: Context, run: RunFacts, max_hours: float | None, budget: float | None) -> Left:
    """What is left for a run that is to be resumed; `max_hours` and `budget` replace its limits, as totals.

    GpujobError where nothing is left.
    """
    require_positive("--max-hours", max_hours)
    require_positive("--budget", budget)
    recorded = run.record.limits if run.record else Limits()
    used = run.used_seconds(ctx.now()) / 3600
    total_usd = recorded.budget_usd if budget is None else budget
    total_hours = recorded.max_hours if max_hours is None and budget is None else max_hours
    spent = spent_on(ctx, run.id)
    usd = None if total_usd is None else total_usd - spent
    hours = None if total_hours is None else total_hours - used
    if usd is not None and usd <= 0:
        what = f"the budget of {run.id} is spent"
        why = f"${spent:.2f} of ${total_usd:.2f}, over all its instances"
        raise GpujobError(what, why, f"gpujob deploy --resume {run.id} --budget USD")
    if hours is not None and hours <= 0:
        what = f"the hours of {run.id} are used up"
        why = f"{used:.2f} of {total_hours:.4g}, over all its attempts"
        raise GpujobError(what, why, f"gpujob deploy --resume {run.id} --max-hours HOURS")
    return Left(used, hours, usd, total_usd, max_hours is not None or budget is not None)


def affordable_hours(hosts: Sequence[Host], budget_usd: float) -> float | None:
    """The hours of all hosts together that a budget pays for; None if the price of one is not known."""
    each = [host.hours_for(budget_usd) for host in hosts]
    known = [hours for hours in each if hours]
    return 1 / sum(1 / hours for hours in known) if len(known) == len(each) else None


def spent_on(ctx: Context, run_id: str) -> float:
    """USD for all instances that were launched for a run, with what they left."""
    from orchestrator.instances import prices  # noqa: PLC0415 - a deploy to a host loads nothing of EC2
    from orchestrator.instances.records import InstanceStore  # noqa: PLC0415

    known = InstanceStore(ctx.state_dir).all()
    return sum(prices.cost(instance, ctx.now()) for instance in known if instance.run == run_id)
