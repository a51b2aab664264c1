"""`ec2://i-…` as a target: a box of EC2 is a host over SSH whose address may change and which may be off.

EC2 is asked only where the box does not answer at the address on record.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from orchestrator.context import Context
from orchestrator.errors import NotFound, Unreachable, UsageError
from orchestrator.instances import boxes, keys, ledger, prices
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.launch import PREFIX, label
from orchestrator.store import Record, Store
from orchestrator.targets.ssh import address
from orchestrator.targets.ssh.address import Resolved, Typed
from orchestrator.targets.ssh.host import SshHost, link

_KNOCK = 3.0  # seconds for a TCP connection


class Ec2Target:
    """`word`: ec2://i-…, or ec2 where this machine knows of just one box that has not ended."""

    def __init__(self, ctx: Context, word: str, regions: list[str]) -> None:
        self._ctx = ctx
        self._store = Store(ctx.state_dir)
        self._regions = regions
        self._id = word.removeprefix(PREFIX) if word.startswith(PREFIX) else self._only()
        if not self._id.startswith("i-"):
            raise UsageError(f"{word!r} is no target", "a box is named by its id", "gpujob hosts list")
        self.label = label(self._id)

    @contextlib.contextmanager
    def connect(self) -> Iterator[SshHost]:
        host = connected(self._ctx, self._store, self.box())
        try:
            yield host
        finally:
            host.close()

    def box(self) -> Record:
        """On record, or adopted from EC2."""
        known = self._store.box(self._id)
        return known or boxes.adopt(self._ctx, self._store, Cloud(self._ctx), self._id, self._regions)

    def _only(self) -> str:
        living = [box["id"] for box in ledger.living(self._store.boxes())]
        if len(living) == 1:
            return str(living[0])
        if not living:
            raise NotFound(
                "no box of EC2 is on record here", "", "gpujob hosts list, or gpujob deploy JOB --on ec2"
            )
        raise UsageError(
            "which box of EC2?", ", ".join(label(one) for one in living), f"--on {label(living[-1])}"
        )


def connected(ctx: Context, store: Store, box: Record) -> SshHost:
    """The host behind a box. Stopped or Unreachable where there is none to talk to."""
    if box["state"] in ledger.ENDED:
        raise Gone(box)
    if not answers(box["address"]):
        box = _again(ctx, store, box)
    resolved = resolve(ctx, box)
    return SshHost(ctx, resolved, link(ctx, resolved))


def _again(ctx: Context, store: Store, box: Record) -> Record:
    """What EC2 says of a box that does not answer: another address, another state, or our own has changed."""
    cloud = Cloud(ctx)
    box = boxes.refresh(ctx, store, cloud, box)
    if box["state"] == "stopped":
        monthly = prices.table().gp3_gb_month * box["disk_gb"]
        why = f"its disk is kept, ${monthly:.2f} a month"
        next_step = f"gpujob fetch brings it up; gpujob hosts down {label(box['id'])} ends it"
        raise boxes.Stopped(f"{label(box['id'])} is stopped", why, next_step)
    if box["state"] in ledger.ENDED:
        raise Gone(box)
    if box["address"] and not answers(box["address"]) and box.get("managed", True):
        boxes.renew_rule(ctx, cloud, box)
    if not box["address"] or not answers(box["address"]):
        why = f"EC2 says it is {box['state']} at {box['address'] or 'no public address'}, port 22 is silent"
        raise Unreachable(f"{label(box['id'])} cannot be reached", why, "gpujob hosts list")
    return box


class Gone(NotFound):
    """The box has ended. What it held is on its `volume`, where it had one of its own."""

    def __init__(self, box: Record) -> None:
        self.volume: str | None = box.get("volume")
        kept = f"; what it held is kept on volume {self.volume}" if self.volume else ", and its disk with it"
        super().__init__(f"{label(box['id'])} has ended", f"it was terminated{kept}", "gpujob hosts list")


def resolve(ctx: Context, box: Record) -> Resolved:
    """Its host key is on record under its id, so that an address that went to another box is no danger."""
    options = ["-o", f"HostKeyAlias={box['id']}"]
    if box.get("managed", True):
        key = keys.user_key(ctx)
        options += ["-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
    typed = Typed(label(box["id"]), box["address"], box["user"], None, tuple(options))
    return address.resolve(ctx, typed)


def answers(where: str | None) -> bool:
    """Whether something listens on port 22; a rule that does not admit us looks like silence."""
    if not where:
        return False
    try:
        socket.create_connection((where, 22), timeout=_KNOCK).close()
    except OSError:
        return False
    return True
