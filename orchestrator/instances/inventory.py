"""What gpujob created and still exists in any region: the list that `hosts list`, `status` and `cost` show.

`hosts orphans` chooses from it. `survey` reads it from EC2. The client's state folder keeps it, for commands
that make no call.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator import files
from orchestrator.instances import prices, spec
from orchestrator.instances.instance import BILLED_STATES, expires

FRESH_SECONDS = 3600.0
"""Age up to which `status` shows the stored inventory instead of searching all regions."""
RETRY_SECONDS = 600.0
"""Seconds after which a search that failed is repeated."""
_FILE = "inventory.json"
_BILLED_KINDS = ("instance", "volume", "request")


class Resource(Struct, frozen=True, kw_only=True):
    """Something with gpujob's tag that exists. `kind`: instance, volume, request, interface or group.

    state: that of EC2. owner, client: user@host and the random id of the client. created: 0 if not known.
    deadline: None if the tags have no valid one; damage: what is wrong with it, "" if nothing is.
    record: id of the instance on record that it is, or belongs to; "" for none. used: an instance uses it.
    request: of an instance without gpujob's tags, the spot request that EC2 launched it for.
    usd_per_hour: what it costs now, with its disks; None if that is not known. why: more about it, or "".
    """

    kind: str
    id: str
    region: str
    state: str = ""
    type: str = ""
    gb: int = 0
    owner: str = ""
    client: str = ""
    job: str = ""
    created: float = 0.0
    deadline: float | None = None
    damage: str = ""
    record: str = ""
    used: bool = False
    request: str = ""
    usd_per_hour: float | None = 0.0
    why: str = ""

    @property
    def is_billed(self) -> bool:
        """Whether it costs money, or EC2 may launch an instance for it that does."""
        return self.kind in _BILLED_KINDS

    @property
    def usd_per_month(self) -> float | None:
        return None if self.usd_per_hour is None else self.usd_per_hour * prices.HOURS_PER_MONTH

    def usd(self, now: float) -> float | None:
        """Returns what it has cost since it was created, as if it had always been in this state."""
        if self.usd_per_hour is None:
            return None
        return self.usd_per_hour * max(0.0, now - self.created) / 3600 if self.created else 0.0

    def is_expired(self, now: float) -> bool:
        """Whether it is past its deadline. A stopped instance is not: it is already shut down."""
        is_over = self.deadline is not None and self.deadline < now
        return is_over and (self.kind != "instance" or self.state in BILLED_STATES)

    def is_of(self, who: str) -> bool:
        """Whether it belongs to the user of `who`, on whatever machine; also if its owner is not known."""
        return not self.owner or self.owner.partition("@")[0] == who.partition("@")[0]

    def kept_because(self, who: str, client: str, now: float) -> str:
        """Returns why a client must not end it: it is in use, or another user's; "" if it may."""
        if not self.is_of(who):
            return f"it is of {self.owner}"
        is_over = self.deadline is not None and self.deadline < now
        if not is_over and self.kind in ("instance", "volume") and self.damage:
            return self.damage
        if not is_over and self.client not in ("", client):
            return f"it is of another client of {self.owner}"
        if self.kind == "instance" and not self.request and not self.is_expired(now):
            return "its deadline has not passed"
        return ""


class Inventory(Struct, frozen=True, kw_only=True):
    """The resources of all regions that these credentials may search, at the time `read`.

    unseen: ids of instances on record that these credentials cannot see. unsearched: regions that did not
    answer; of these it has the resources of the search before.
    """

    read: float = 0.0
    resources: tuple[Resource, ...] = ()
    unseen: tuple[str, ...] = ()
    unsearched: tuple[str, ...] = ()

    @property
    def unrecorded(self) -> list[Resource]:
        """The resources that cost money, and are of no instance on record."""
        return [one for one in self.resources if one.is_billed and not one.record and not one.used]


def load(folder: Path) -> Inventory:
    """Returns the stored inventory; an empty one if there is none, or it is damaged."""
    try:
        return msgspec.convert(files.load_json(folder / _FILE), Inventory)
    except (ValueError, msgspec.MsgspecError):
        return Inventory()


def save(folder: Path, inventory: Inventory) -> Inventory:
    files.write_json(folder / _FILE, {"v": 1, **msgspec.to_builtins(inventory)})
    return inventory


def of_tags(tags: Mapping[str, str], **fields: object) -> Resource:
    """Returns a resource with what its tags say. Any user of the account may change them."""
    value, deadline = tags.get(spec.EXPIRES), expires(tags)
    damage = ""
    if value is None:
        damage = "it has no deadline in its tags"
    elif deadline is None:
        damage = f"its deadline is damaged: {value[:40]!r}"
    owner, client, job = (tags.get(key, "") for key in (spec.OWNER, spec.CLIENT, spec.JOB))
    known = {"owner": owner, "client": client, "job": job, "deadline": deadline, "damage": damage}
    return msgspec.convert({**known, **fields}, Resource)
