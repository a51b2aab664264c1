"""Brings the instances of a run over several up again: started, or replaced where they have ended."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from orchestrator.errors import GpujobError
from orchestrator.instances import ensure, members, prices
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import STOPPED, Instance
from orchestrator.instances.quote import Quote
from orchestrator.instances.region import Ingress
from orchestrator.instances.with_volume import ensure_with_volume

_AT_REST = (STOPPED, "stopping")


def revive(
    account: Account, former: Sequence[Instance], offer: Quote, ingress: Ingress
) -> tuple[list[Instance], list[Instance]]:
    """Returns the instances, all up, and those of them that were started or launched for it.

    Those that ended are replaced first, since EC2 may have no capacity: each by one with its data volume. The
    user confirms the prices. Where one cannot be had, those that were started for it are shut down.
    """
    ensure.settle(account)
    current = [ensure.trainable(account, one) for one in former]
    offer = replace(offer, spec=replace(offer.spec, group=former[0].group))
    started: list[Instance] = []
    try:
        for number, one in enumerate(current):
            if one.has_ended:
                started.append(ensure_with_volume(account, one, offer, ingress, current))
                current[number] = started[-1]
        stopped = [one for one in current if one.state in _AT_REST]
        if stopped:
            ensure.start_all(account, stopped, offer.hours, offer.wait_hours)
            started += stopped
        return [account.records.get(one.id) for one in current], started
    except GpujobError:
        members.shut_down(account, started)
        raise


def steps(account: Account, former: Sequence[Instance], offer: Quote) -> list[tuple[str, str]]:
    """Returns what `revive` would do, with prices: title and reason of each step."""
    found = []
    for one in former:
        current = members.refresh_one(account, one)
        if current.has_ended or current.is_interrupted:
            usd = (
                "price not known"
                if offer.price is None
                else f"at most ${offer.price.running * offer.hours:.2f}"
            )
            found.append((f"launch another instance for {one.label}", f"with volume {one.volume}; {usd}"))
        elif current.state in _AT_REST:
            found.append((f"start {one.label}", prices.at_most(current, offer.hours)))
    return found
