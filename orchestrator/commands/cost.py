"""`gpujob cost`: what instances and volumes cost, by month and by run, and what of it was wasted."""

from __future__ import annotations

from orchestrator import settings_files
from orchestrator.commands import rows
from orchestrator.context import Context
from orchestrator.core.values import iso
from orchestrator.errors import GpujobError
from orchestrator.instances import inventory, launching, survey
from orchestrator.instances.cloud import Account
from orchestrator.instances.inventory import Inventory
from orchestrator.store import Store
from orchestrator.view import instances as view


def cost(ctx: Context) -> int:
    """Every instance launched from here, and what else of gpujob costs money in any region.

    Where EC2 cannot be searched, that is a warning, and the last known state is shown.
    """
    account = Account(ctx)
    listed = _search(account)
    runs, now = Store(ctx.state_dir).runs(), ctx.now()
    costs = [rows.cost(instance, runs, now) for instance in account.records.all()]
    view.print_costs(ctx, costs, rows.resources(listed, now), _by_month(ctx, listed))
    return 0


def _search(account: Account) -> Inventory:
    ctx, is_empty = account.ctx, not account.records.all()
    try:
        launching.settle(account)
    except GpujobError as error:
        ctx.warn(f"EC2 could not be searched: {error.what}: {error.why}")
        return inventory.load(ctx.state_dir)
    return survey.survey_or_stored(account, settings_files.load(ctx)["region"].value, of_user=is_empty)


def _by_month(ctx: Context, listed: Inventory) -> dict[str, float]:
    """USD of the user's resources that are of no instance on record, by the month of their creation."""
    sums: dict[str, float] = {}
    for one in listed.unrecorded:
        if one.is_of(ctx.who) and one.created:
            month = view.month_of(iso(one.created))
            sums[month] = sums.get(month, 0.0) + (one.usd(ctx.now()) or 0.0)
    return sums
