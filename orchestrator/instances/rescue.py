"""Reaches the data of an instance when its type has no capacity or quota: small types without GPUs have."""

from __future__ import annotations

from orchestrator.errors import GpujobError
from orchestrator.instances import ensure, errors, prices
from orchestrator.instances.catalog import table
from orchestrator.instances.cloud import Account
from orchestrator.instances.errors import AwsError, Ended
from orchestrator.instances.instance import Instance
from orchestrator.instances.quote import FETCH_HOURS


def start(account: Account, instance: Instance) -> Instance:
    """Starts a stopped instance to fetch from it; with a small type if its own has no capacity or quota.

    The disk stays the same. The price of the small type is confirmed; the own type is restored when the
    instance is started to train again.
    """
    own = instance.gpu_type or instance.type
    try:
        return ensure.start(account, instance, FETCH_HOURS)
    except (AwsError, Ended) as error:
        if not errors.is_shortage(error, or_quota=True):
            raise
        why, last = f"{own} cannot be started: {error.what}: {error.why}", error
    _confirm(account, instance, own, why)
    for type_ in table().rescue:
        try:
            return ensure.start(account, account.records.get(instance.id), FETCH_HOURS, type_)
        except (AwsError, Ended) as error:
            if not errors.is_shortage(error, or_quota=True):
                raise
            account.ctx.talk(f"{type_} cannot be started either: {error.why}")
            last = error
    raise GpujobError(f"{instance.label} cannot be started", last.why, "the same command later")


def _confirm(account: Account, instance: Instance, own: str, why: str) -> None:
    known = [table().usd(type_, instance.region) for type_ in table().rescue]
    usd = max((price for price in known if price is not None), default=None)
    account.ctx.confirm(
        f"{why}. Starting it for an hour as {' or '.join(table().rescue)}, without GPUs, to read its disk: "
        f"{prices.at_most(prices.with_type(instance, own, usd, account.ctx.now()), FETCH_HOURS)}."
    )
