"""Finds instances and volumes with gpujob's tag that have no record here, or are past their deadline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.context import Context
from orchestrator.instances import lifecycle, spec
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import BILLED_STATES, expires, parse_tags


@dataclass(frozen=True)
class Orphan:
    """An instance or a volume without a record here, or past its deadline. `kind`: instance or volume.

    `state`: that of an instance, or the size of a volume. `owner`: user@client in its tags, or "".
    """

    kind: str
    id: str
    region: str
    state: str
    owner: str
    job: str
    why: str
    is_expired: bool

    def may_be_ended_by(self, ctx: Context) -> bool:
        """Returns whether this client may end it: its own, and expired ones of the user's other clients."""
        same_user = self.owner.partition("@")[0] == ctx.who.partition("@")[0]
        return self.owner in ("", ctx.who) or (same_user and self.is_expired)


def find(account: Account, region: str) -> Iterator[Orphan]:
    """Yields the orphans of a region."""
    now = account.ctx.now()
    for instance in lifecycle.list_managed(account.cloud, region):
        # A stopped instance does not count as expired, since it is already shut down.
        is_expired = instance.state in BILLED_STATES and instance.expires < now
        is_unknown = account.records.find(instance.id) is None
        if is_unknown or is_expired:
            why = "not on record here" if is_unknown else "past its deadline"
            yield _orphan("instance", instance.id, region, instance.state, instance.tags, why, is_expired)
    known = {instance.volume for instance in account.records.all()}
    filters = [
        {"Name": f"tag:{spec.MANAGED}", "Values": ["1"]},
        {"Name": "status", "Values": ["available"]},
    ]
    for volume in account.cloud.all(region, "describe_volumes", "Volumes", Filters=filters):
        if volume["VolumeId"] not in known:
            tags = parse_tags(volume.get("Tags") or [])
            size, is_expired = f"{volume.get('Size', '?')} GB", expires(tags) < now
            why = "attached to no instance"
            yield _orphan("volume", volume["VolumeId"], region, size, tags, why, is_expired)


def _orphan(
    kind: str, id_: str, region: str, state: str, tags: dict[str, str], why: str, is_expired: bool
) -> Orphan:
    owner, job = tags.get(spec.OWNER, ""), tags.get(spec.JOB, "")
    return Orphan(kind, id_, region, state, owner, job, why, is_expired)


def end(account: Account, orphan: Orphan) -> None:
    """Deletes the volume, or terminates the instance."""
    if orphan.kind == "volume":
        lifecycle.delete_volume(account, orphan.region, orphan.id)
        return
    known = account.records.find(orphan.id)
    lifecycle.terminate(account, known or lifecycle.adopt(account, orphan.id, [orphan.region]))
