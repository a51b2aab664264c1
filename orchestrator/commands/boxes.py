"""The box behind `--on ec2`: found, or launched at a price that was agreed to; kept awake; let go."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.settings import Setting
from orchestrator.errors import GpujobError
from orchestrator.instances import launch, ledger, prices, pricing
from orchestrator.instances.launch import PREFIX
from orchestrator.store import Record, Store
from orchestrator.targets.base import Host
from orchestrator.view import fleet as view

LEASE = 20 * 60.0  # seconds that one sign of life of ours is good for
VISIT = 3600.0
_SIGN_EVERY = 60.0


@dataclass(frozen=True)
class Ingress:
    """Who is let in to port 22: a range as typed, or this machine's own address."""

    cidr: str | None = None
    world: bool = False

    @property
    def shown(self) -> str:
        """Without asking anybody."""
        return self.cidr or "this address/32"


def wanted(word: str | None, settings: dict[str, Setting]) -> bool:
    """Whether a deploy to this target may have to launch a box first."""
    return (word or settings["target"].value) == "ec2"


def settle(ctx: Context, store: Store) -> list[Record]:
    """What launches that were cut have made; asks EC2 only where one is open."""
    if not store.attempts():
        return []
    from orchestrator.instances import launcher  # noqa: PLC0415 - `status` seldom needs it
    from orchestrator.instances.cloud import Cloud  # noqa: PLC0415

    found = launcher.settle(ctx, store, Cloud(ctx), ctx.talk)
    for box in found:
        ctx.talk(f"a launch that was cut has made {launch.label(box['id'])} ({box['type']} in {box['zone']})")
    return found


def of(store: Store, label: str) -> Record | None:
    """The record behind a target's label; None for what is no box."""
    return store.box(label.removeprefix(PREFIX)) if label.startswith(PREFIX) else None


def labels(store: Store, living: bool) -> list[str]:
    """The boxes on record here that have not ended, or that have."""
    return [launch.label(box["id"]) for box in store.boxes() if (box["state"] not in ledger.ENDED) == living]


def has_ended(store: Store, label: str) -> bool:
    box = of(store, label)
    return box is not None and box["state"] in ledger.ENDED


def telling(ctx: Context, store: Store, label: str) -> dict[str, Any] | None:
    """What is known here of the box behind a label, with its cost; None for what is no box."""
    box = of(store, label)
    return view.telling(box, prices.table(), ctx.now()) if box else None


def run_cost(ctx: Context, store: Store, label: str, seen: dict[str, Any]) -> float | None:
    """Dollars of a run so far; None where it runs on no box."""
    box = of(store, label)
    return round(ledger.run_cost(prices.table(), box, seen, ctx.now()), 4) if box else None


def hours_of(store: Store, label: str, budget: float) -> float | None:
    """How long so many dollars pay for a host; None for one that has no price on record."""
    box = of(store, label)
    if box is None or box["usd_hour"] is None:
        return None
    return pricing.hours_of(budget, ledger.price(prices.table(), box))


def hold(store: Store, label: str, run_id: str) -> None:
    """The box was launched for this run: it ends when the run's checkpoints are home."""
    box = of(store, label)
    if box and box.get("managed", True) and box.get("for_run", True):
        store.write_box({**box, "run": run_id})


@contextlib.contextmanager
def awake(host: Host) -> Iterator[None]:
    """While something of ours is under way, the box's lease is renewed; elsewhere nothing is done.

    From here between two questions; during one, which may take longer than a lease, by the host.
    """
    if not host.label.startswith(PREFIX):
        yield
        return
    done = threading.Event()

    def sign() -> None:
        while True:
            with contextlib.suppress(GpujobError):
                host.ask("lease", seconds=LEASE)
            if done.wait(_SIGN_EVERY):
                return

    host.lease = LEASE
    thread = threading.Thread(target=sign, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        host.lease = None


def stay(ctx: Context, host: Host) -> None:
    """Keeps a box up for whoever looks around on it; elsewhere nothing is done."""
    if host.label.startswith(PREFIX):
        host.ask("lease", seconds=VISIT)
        ctx.talk(f"{host.label} stays up for an hour from now, until its deadline; gpujob ssh again: another")


def may_go(ctx: Context, store: Store, host: Host, seen: dict[str, Any]) -> bool:
    """Whether the box was launched for this run, which has ended, and holds no other."""
    box = of(store, host.label)
    if not box or box.get("run") != seen["id"] or isinstance(runstate.fold(seen, ctx.now()), runstate.GOING):
        return False
    others = [one["id"] for one in host.ask("look", lines=0)["runs"] if one["id"] != seen["id"]]
    if others:
        ctx.talk(f"{host.label} is kept: it holds {', '.join(others)} too; gpujob hosts down {host.label}")
    return not others


def release(ctx: Context, store: Store, host: Host, seen: dict[str, Any]) -> Record:
    """Terminates a box whose run is home and verified; its data volume goes with it."""
    from orchestrator.instances import boxes  # noqa: PLC0415 - `status` seldom needs it
    from orchestrator.instances.cloud import Cloud  # noqa: PLC0415

    box = of(store, host.label)
    assert box
    cloud = Cloud(ctx)
    ended = boxes.terminate(ctx, store, cloud, box)
    return boxes.drop_volume(ctx, store, cloud, ended) if ended.get("volume") else ended


def told(ctx: Context, ended: Record) -> str:
    cost = ledger.cost(prices.table(), ended, ctx.now())
    return f"{launch.label(ended['id'])} is terminated; it cost about ${cost:.2f}"
