"""Chooses from an inventory what nothing needs, and ends it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from orchestrator.instances import changes, lifecycle, region
from orchestrator.instances.cloud import Account
from orchestrator.instances.inventory import Inventory, Resource
from orchestrator.instances.records import Change


class Orphan(msgspec.Struct, frozen=True):
    """A resource without a record here, past its deadline, or used by nothing. `why` says which.

    kept_because: why it must not be ended from here, "" if it may be. is_unknown_here: another client of the
    user created it, and its runs are on record there alone.
    """

    resource: Resource
    why: str
    kept_because: str
    is_unknown_here: bool = False


def find(account: Account, inventory: Inventory, regions: list[str]) -> list[Orphan]:
    """Returns the orphans of the regions, of all if none is named."""
    return [
        orphan
        for one in inventory.resources
        if (not regions or one.region in regions)
        for orphan in _orphan(account, one)
    ]


def _orphan(account: Account, one: Resource) -> Iterator[Orphan]:
    ctx, now = account.ctx, account.ctx.now()
    kept_because = one.kept_because(ctx.who, account.records.client_id(ctx), now)
    is_late = one.is_expired(now)
    why = "; ".join(part for part in (one.why, one.damage) if part)
    if one.kind == "instance" and (is_late or not one.record) and one.state != "shutting-down":
        yield Orphan(one, "past its deadline" if is_late else why, kept_because)
    elif one.kind == "volume" and not one.used and one.state != "deleting":
        owner = account.records.find(one.record) if one.record else None
        if owner and owner.run:
            kept_because = f"it holds {owner.run}: gpujob fetch, or gpujob hosts down {owner.label} --purge"
        is_other = owner is None and one.client not in ("", account.records.client_id(ctx))
        yield Orphan(one, why, kept_because, is_other)
    elif one.kind == "request":
        yield Orphan(one, one.why, kept_because)
    elif one.kind == "interface":
        yield Orphan(one, "attached to no instance", kept_because)
    elif one.kind == "group" and not one.used and one.owner == ctx.who:
        yield Orphan(one, "used by no instance", "")


def end(account: Account, resource: Resource) -> bool:
    """Deletes the resource; returns whether it is gone. If it is not yet, a later command deletes it."""
    if resource.kind == "instance" and not resource.request:
        known = account.records.find(resource.id)
        changes.terminate(account, known or lifecycle.adopt(account, resource.id, [resource.region]))
    elif resource.kind == "group":
        return region.delete_group(account.cloud, resource.region, resource.id)
    else:
        account.records.save_change(_change(resource))
        changes.complete(account)
    return all(change.id != resource.id for change in account.records.changes())


def _change(resource: Resource) -> Change:
    if resource.kind == "instance":
        return Change("terminate", resource.id, resource.region)
    if resource.kind == "volume":
        return Change("delete-volume", resource.id, resource.region, resource.record)
    if resource.kind == "request":
        return Change("cancel-request", resource.id, resource.region)
    return Change("delete-interface", resource.id, resource.region)
