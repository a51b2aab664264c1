"""`gpujob hosts orphans`: what gpujob created, in all regions, and nothing needs."""

from __future__ import annotations

from orchestrator.commands import config, rows
from orchestrator.context import Context
from orchestrator.instances import ensure, survey
from orchestrator.instances import orphans as instance_orphans
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import PREFIX
from orchestrator.instances.inventory import Resource
from orchestrator.view import instances as view


def orphans(ctx: Context, regions: list[str], end: bool) -> int:
    """Instances and volumes with gpujob's tag that this client does not know, or past their deadline.

    With `end` they are deleted once the user agreed; but not those of other people, nor those of the user's
    other clients before their deadline. 1 while some are left.
    """
    account, home = Account(ctx), config.load(ctx)["region"].value
    ensure.settle(account)
    listed = instance_orphans.find(account, survey.survey(account, home, regions), regions)
    view.print_orphans(ctx, [rows.orphan(one, ctx.now()) for one in listed])
    if not listed or not end:
        return 1 if listed else 0
    own = [one.resource for one in listed if not one.kept_because]
    if own:
        ids = ", ".join(one.id for one in own)
        ctx.confirm(f"deleting {ids}, with all that is on their disks.")
    left = [one for one in own if not _end(account, one)]
    others = [one for one in listed if one.kept_because]
    for other in others:
        ctx.talk(f"{other.resource.id} is kept: {other.kept_because}")
    if any(other.resource.kind == "instance" for other in others):
        ctx.talk(f"gpujob hosts down {PREFIX}i-… (asks an instance what runs on it), and fetches it first")
    if own:
        survey.survey(account, home, regions)
    return 1 if others or left else 0


def _end(account: Account, one: Resource) -> bool:
    is_deleted = instance_orphans.end(account, one)
    account.ctx.talk(
        f"{one.id} is deleted" if is_deleted else f"{one.id} is not deleted yet; the next command tries again"
    )
    return is_deleted
