"""Searches every region for what gpujob created, brings the records in line with it, finds orphans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from msgspec.structs import replace

from orchestrator.errors import AccessError, GpujobError
from orchestrator.instances import changes, errors, inventory, lifecycle, spec
from orchestrator.instances.catalog import table
from orchestrator.instances.cloud import Account, Cloud
from orchestrator.instances.errors import AwsError
from orchestrator.instances.instance import LIVE_STATES, Description, Instance
from orchestrator.instances.inventory import Inventory, Resource
from orchestrator.instances.records import Change
from orchestrator.instances.region import delete_group
from orchestrator.instances.search import Region, search

_THREADS = 8
_RETRY_AGE = inventory.FRESH_SECONDS - inventory.RETRY_SECONDS
"""Age that an inventory is given after a search that failed, so that it is repeated after RETRY_SECONDS."""


def survey(account: Account, home: str, regions: Sequence[str] = (), of_user: bool = False) -> Inventory:
    """Returns and stores what exists in the regions, all if none is named; updates the records by it.

    home: the region of the settings, which is asked for the others; regions of records are always searched.

    An instance of this client without a record gets one; with `of_user`, so does each of the user, after the
    client's state was lost. A region that cannot be searched is named, and what it had when it was searched
    last is kept. Raises the error of the first if none can be.
    """
    ctx = account.ctx
    names = list(regions) or _regions(account, home)
    with ThreadPoolExecutor(_THREADS) as pool:
        searched = list(pool.map(lambda name: _search_or_error(account.cloud, name), names))
    by_region = [one for one in searched if isinstance(one, Region)]
    failed = {name: one for name, one in zip(names, searched, strict=True) if isinstance(one, AwsError)}
    if not by_region:
        raise next(iter(failed.values()))
    for name, error in failed.items():
        ctx.warn(f"{name} is skipped: {error.what}: {error.why}")
    for one in by_region:
        _adopt(account, one, of_user)
    unseen = tuple(_update_records(account, by_region))
    resources = [resource for one in by_region for resource in _resources(account, one)]
    _cancel_requests(account, by_region)
    stored, answered = inventory.load(ctx.state_dir), {one.name for one in by_region}
    former = [one for one in stored.resources if one.region not in answered]
    resources += former if regions else [one for one in former if one.region in failed]
    unsearched = tuple(name for name, error in failed.items() if error.code not in errors.CLOSED)
    read = stored.read if regions else ctx.now() - (_RETRY_AGE if unsearched else 0)
    return inventory.save(
        ctx.state_dir,
        Inventory(read=read, resources=tuple(resources), unseen=unseen, unsearched=unsearched),
    )


def _regions(account: Account, home: str) -> list[str]:
    recorded = {one.region for one in account.records.billed()}
    return sorted({*account.cloud.regions(home), *recorded})


def _search_or_error(cloud: Cloud, name: str) -> Region | AwsError:
    try:
        return search(cloud, name)
    except AwsError as error:
        return error


def _adopt(account: Account, of: Region, of_user: bool) -> None:
    """Records this client's instances whose records are missing; not those of a launch that is going on."""
    records, ctx = account.records, account.ctx
    client = records.client_id(ctx)
    launches = {
        attempt.id for attempt in records.attempts()
    }  # read first: a record is saved before it closes
    for one in of.instances:
        resource = inventory.of_tags(one.tags, kind="instance", id=one.id, region=of.name)
        is_own = resource.client == client or (of_user and resource.owner and resource.is_of(ctx.who))
        if is_own and one.tags.get(spec.ATTEMPT) not in launches and records.find(one.id) is None:
            lifecycle.adopt(account, one.id, [of.name])


def _update_records(account: Account, regions: Sequence[Region]) -> Iterator[str]:
    """Updates the records of instances that exist, also where one seemed to have ended, and of volumes.

    Yields the ids of the instances that these credentials cannot see.
    """
    described = {one.id: one for region in regions for one in region.instances}
    volumes = {one.id: on for region in regions for one, on in region.volumes}
    searched = {region.name for region in regions}
    _count_volumes_once(account)
    searched_at = account.ctx.now()
    for instance in account.records.all():
        description = described.get(instance.id)
        is_alive = description is not None and description.state in LIVE_STATES
        if instance.region not in searched or (instance.has_ended and not instance.volume and not is_alive):
            continue
        try:
            if instance.has_ended and not is_alive:
                _update_volume(account, instance, volumes)
            elif description:
                lifecycle.observe(account, instance, description)
            else:
                lifecycle.refresh(account, instance, absent_since=searched_at)
        except AccessError as error:
            account.ctx.warn(f"as it was last seen: {error.what}; {error.why}")
            yield instance.id


def _count_volumes_once(account: Account) -> None:
    """Lets the record of the latest instance of each volume count what that costs from its launch on.

    A client that is killed before it has recorded that another instance has the volume leaves two of them.
    """
    latest: dict[str, Instance] = {}
    for instance in reversed(account.records.billed()):
        if not instance.volume:
            continue
        heir = latest.get(instance.volume)
        if heir and instance.volume_until is None:
            account.records.save(replace(instance, volume_until=heir.launched))
        latest[instance.volume] = instance


def _update_volume(account: Account, instance: Instance, volumes: dict[str, tuple[str, ...]]) -> None:
    """Forgets the volume of an instance that ended, if it is deleted or attached to another instance."""
    volume = instance.volume or ""
    is_elsewhere = any(one not in ("", instance.id) for one in volumes.get(volume, ()))
    if is_elsewhere or (
        volume not in volumes and changes.find_volume(account.cloud, instance, volume) is None
    ):
        changes.forget_volume(account, instance)


def _resources(account: Account, of: Region) -> Iterator[Resource]:
    """Yields what exists in a region, each with the instance on record that it belongs to."""
    recorded = {one.id: one for one in account.records.billed()}
    kept = {one.volume: one for one in sorted(recorded.values(), key=lambda one: one.run or "")}
    listed = {one.id for one in of.instances} | {one.id for one in of.replacements}
    # EC2 may show the disks of a new instance before the instance.
    listed |= {one.id for one in recorded.values() if not one.has_ended}
    gb: dict[str, int] = {}
    for volume, on in of.volumes:
        for one in on:
            gb[one] = gb.get(one, 0) + volume.gb
    for description in of.instances:
        yield _instance(account, of.name, description, gb.get(description.id, 0), description.id in recorded)
    for volume, on in of.volumes:
        owner = next((one for one in on if one in listed), "")
        left_by = kept.get(volume.id)
        if owner:
            yield replace(volume, used=True, record=owner if owner in recorded else "")
        elif left_by:
            yield replace(volume, record=left_by.id, why=f"left by {left_by.label}")
        else:
            yield replace(volume, why="attached to no instance of gpujob")
    for request, instance in of.requests:
        if instance in listed:
            continue
        yield _open_request(request, instance)
    yield from of.replacements
    yield from of.others


def _open_request(request: Resource, instance: str) -> Resource:
    """Returns a request that is of no listed instance: EC2 may launch one for it, or has launched it."""
    if not instance:
        return replace(request, why=f"no instance yet; EC2 may launch {request.type or 'one'} for it")
    usd = table().usd(request.type, request.region)
    return replace(request, usd_per_hour=usd, why=f"of {instance}, which has ended or has no tag of gpujob")


def _cancel_requests(account: Account, regions: Sequence[Region]) -> None:
    """Cancels the requests of instances on record that have ended: EC2 launches another instance for them.

    One that it has launched already is terminated: its tags do not name gpujob, so no later search finds it.
    """
    ended = {one.spot_request: one.id for one in account.records.all() if one.has_ended and one.spot_request}
    for region in regions:
        for request, instance in region.requests:
            former = ended.get(request.id)
            if not former:
                continue
            account.ctx.warn(f"spot request {request.id} is cancelled: its instance {former} has ended")
            if instance not in ("", former):
                account.ctx.warn(f"{instance}, which EC2 launched for {request.id}, is terminated")
                account.records.save_change(Change("terminate", instance, region.name))
            account.records.save_change(Change("cancel-request", request.id, region.name))
    changes.complete(account)


def _instance(account: Account, region: str, of: Description, gb: int, is_recorded: bool) -> Resource:
    resource = inventory.of_tags(
        of.tags,
        kind="instance",
        id=of.id,
        region=region,
        state=of.state,
        type=of.type,
        gb=gb,
        created=of.launched,
        record=of.id if is_recorded else "",
        why="" if is_recorded else "not on record here",
    )
    usd = account.records.get(of.id).usd_per_hour if is_recorded else None
    return replace(resource, usd_per_hour=lifecycle.usd_per_hour(account.cloud, region, of, gb, usd))


def survey_or_stored(account: Account, home: str, of_user: bool) -> Inventory:
    """Returns what exists now; where EC2 cannot be searched, with a warning what existed when it was."""
    ctx = account.ctx
    try:
        return survey(account, home, of_user=of_user)
    except GpujobError as error:
        ctx.warn(f"EC2 could not be searched: {error.what}: {error.why}")
        stored = inventory.load(ctx.state_dir)
        read = max(stored.read, ctx.now() - _RETRY_AGE)
        return inventory.save(ctx.state_dir, replace(stored, read=read))


class Orphan(msgspec.Struct, frozen=True):
    """A resource without a record here, past its deadline, or used by nothing. `why` says which.

    kept_because: why it must not be ended from here, "" if it may be. is_unknown_here: another client of the
    user created it, and its runs are on record there alone.
    """

    resource: Resource
    why: str
    kept_because: str
    is_unknown_here: bool = False


def orphans(account: Account, inventory: Inventory, regions: list[str]) -> list[Orphan]:
    """Returns the orphans of the regions, of all if none is named."""
    return [
        orphan
        for one in inventory.resources
        if one.region not in inventory.unsearched and (not regions or one.region in regions)
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
        return delete_group(account.cloud, resource.region, resource.id)
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
