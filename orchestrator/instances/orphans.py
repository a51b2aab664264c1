"""Finds in a region, by tag, what gpujob created and nothing needs: instances, volumes, requests, groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.context import Context
from orchestrator.instances import changes, lifecycle, prices, region, spec
from orchestrator.instances.cloud import Account
from orchestrator.instances.errors import AwsError
from orchestrator.instances.instance import BILLED_STATES, expires, parse_tags
from orchestrator.instances.records import Change


@dataclass(frozen=True)
class Orphan:
    """A resource without a record here, or past its deadline. `kind`: instance, volume, request, interface or
    group.

    state: that of EC2, or the size of a volume. owner, client: user@host and the random id of the client, in
    its tags. usd_per_month: what it costs, None if that is not known. needed: why it must not be ended from
    here, "" if it may be.
    """

    kind: str
    id: str
    region: str
    state: str
    owner: str
    client: str
    job: str
    why: str
    is_expired: bool
    usd_per_month: float | None
    needed: str = ""


@dataclass(frozen=True)
class _Tags:
    """Tags of gpujob. Any user of the account may change them, so a deadline may be damaged or missing."""

    values: Mapping[str, str]

    def is_expired(self, now: float) -> bool:
        deadline = expires(self.values)
        return deadline is not None and deadline < now

    @property
    def damage(self) -> str:
        """Returns what is wrong with the deadline, "" if nothing is."""
        value = self.values.get(spec.EXPIRES)
        if value is None:
            return "it has no deadline in its tags"
        return "" if expires(self.values) is not None else f"its deadline is damaged: {value[:40]!r}"

    def needed(self, ctx: Context, client: str, now: float) -> str:
        """Returns why this client must not end the resource: it is in use, or another user's."""
        owner, other = self.values.get(spec.OWNER, ""), self.values.get(spec.CLIENT, "")
        if owner and owner.partition("@")[0] != ctx.who.partition("@")[0]:
            return f"it is of {owner}"
        if self.is_expired(now):
            return ""
        return self.damage or (f"it is of another client of {owner}" if other not in ("", client) else "")


def find(account: Account, region_name: str) -> Iterator[Orphan]:
    """Yields the orphans of a region."""
    yield from _instances(account, region_name)
    yield from _volumes(account, region_name)
    yield from _requests(account, region_name)
    yield from _interfaces(account, region_name)
    yield from _groups(account, region_name)


def _instances(account: Account, region_name: str) -> Iterator[Orphan]:
    ctx, now = account.ctx, account.ctx.now()
    for instance in lifecycle.list_managed(account.cloud, region_name):
        tags = _Tags(instance.tags)
        # A stopped instance does not count as expired, since it is already shut down.
        is_expired = instance.state in BILLED_STATES and tags.is_expired(now)
        is_unknown = account.records.find(instance.id) is None
        if not (is_unknown or is_expired):
            continue
        why = "past its deadline" if is_expired else "not on record here"
        needed = tags.needed(ctx, account.records.client_id(ctx), now)
        if not is_expired:
            needed = needed or "its deadline has not passed"
        usd = prices.on_demand_month(instance.type, region_name) if instance.state in BILLED_STATES else None
        yield _orphan(
            "instance", instance.id, region_name, instance.state, tags, why, is_expired, usd, needed
        )


def _volumes(account: Account, region_name: str) -> Iterator[Orphan]:
    """Yields volumes that are attached to nothing: on each may be the only copy of a checkpoint."""
    ctx, now = account.ctx, account.ctx.now()
    owners = {one.volume: one for one in account.records.all() if one.volume}
    for volume in _tagged(account, region_name, "describe_volumes", "Volumes"):
        if volume.get("State") not in ("available", "error"):
            continue
        tags = _Tags(parse_tags(volume.get("Tags") or []))
        size = int(volume.get("Size") or 0)
        owner = owners.get(volume["VolumeId"])
        needed = tags.needed(ctx, account.records.client_id(ctx), now)
        if owner and owner.run:
            needed = f"it holds {owner.run}: gpujob fetch, or gpujob hosts down {owner.label} --purge"
        why = f"left by {owner.label}" if owner else "attached to no instance"
        usd = prices.disk_per_month(size, region_name)
        args = (volume["VolumeId"], region_name, f"{size} GB", tags, why, tags.is_expired(now), usd, needed)
        yield _orphan("volume", *args)


def _requests(account: Account, region_name: str) -> Iterator[Orphan]:
    """Yields spot requests for which EC2 may still launch an instance."""
    operation, key = "describe_spot_instance_requests", "SpotInstanceRequests"
    for request in _tagged(account, region_name, operation, key):
        if request.get("State") in ("open", "active") and not request.get("InstanceId"):
            tags = _Tags(parse_tags(request.get("Tags") or []))
            needed = tags.needed(account.ctx, account.records.client_id(account.ctx), account.ctx.now())
            id_, state = request["SpotInstanceRequestId"], str(request["State"])
            yield _orphan("request", id_, region_name, state, tags, "no instance yet", True, None, needed)


def _interfaces(account: Account, region_name: str) -> Iterator[Orphan]:
    for card in _tagged(account, region_name, "describe_network_interfaces", "NetworkInterfaces"):
        if card.get("Status") == "available":
            tags = _Tags(parse_tags(card.get("TagSet") or []))
            needed = tags.needed(account.ctx, account.records.client_id(account.ctx), account.ctx.now())
            id_ = card["NetworkInterfaceId"]
            yield _orphan(
                "interface", id_, region_name, "available", tags, "attached to no instance", True, 0.0, needed
            )


def _groups(account: Account, region_name: str) -> Iterator[Orphan]:
    """Yields the user's security groups that no network interface uses."""
    groups = list(_tagged(account, region_name, "describe_security_groups", "SecurityGroups"))
    if not groups:
        return
    cards = account.cloud.all(
        region_name,
        "describe_network_interfaces",
        "NetworkInterfaces",
        Filters=[{"Name": "group-id", "Values": [group["GroupId"] for group in groups]}],
    )
    used = {group["GroupId"] for card in cards for group in card.get("Groups") or []}
    for group in groups:
        tags = _Tags(parse_tags(group.get("Tags") or []))
        if group["GroupId"] not in used and tags.values.get(spec.OWNER) == account.ctx.who:
            yield _orphan(
                "group", group["GroupId"], region_name, "", tags, "used by no instance", True, 0.0, ""
            )


def _tagged(account: Account, region_name: str, operation: str, key: str) -> Iterator[dict[str, Any]]:
    filters = [{"Name": f"tag:{spec.MANAGED}", "Values": ["1"]}]
    return account.cloud.all(region_name, operation, key, Filters=filters)


def _orphan(
    kind: str,
    id_: str,
    region_name: str,
    state: str,
    tags: _Tags,
    why: str,
    is_expired: bool,
    usd_per_month: float | None,
    needed: str,
) -> Orphan:
    values = tags.values
    why = "; ".join(part for part in (why, tags.damage if kind in ("instance", "volume") else "") if part)
    owner, client, job = (values.get(key, "") for key in (spec.OWNER, spec.CLIENT, spec.JOB))
    return Orphan(kind, id_, region_name, state, owner, client, job, why, is_expired, usd_per_month, needed)


def end(account: Account, orphan: Orphan) -> None:
    """Deletes the resource. What cannot be deleted yet is deleted by a later command."""
    if orphan.kind == "instance":
        known = account.records.find(orphan.id)
        changes.terminate(account, known or lifecycle.adopt(account, orphan.id, [orphan.region]))
    elif orphan.kind == "volume":
        changes.request(account, Change("delete-volume", orphan.id, orphan.region))
        changes.complete(account)
    elif orphan.kind == "group":
        region.delete_group(account.cloud, orphan.region, orphan.id)
    elif orphan.kind == "request":
        _delete(account, orphan, "cancel_spot_instance_requests", SpotInstanceRequestIds=[orphan.id])
    else:
        _delete(account, orphan, "delete_network_interface", NetworkInterfaceId=orphan.id)


def _delete(account: Account, orphan: Orphan, operation: str, **parameters: Any) -> None:
    try:
        account.cloud.call(orphan.region, operation, **parameters)
    except AwsError as error:
        if not error.code.endswith(".NotFound"):
            raise
