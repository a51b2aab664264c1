"""Brings instances back whose data is needed: started again, or replaced where they have ended."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from orchestrator.errors import GpujobError, NotFound
from orchestrator.instances import boot, changes, ensure, errors, launching, lifecycle, members, prices
from orchestrator.instances.catalog import table
from orchestrator.instances.cloud import Account
from orchestrator.instances.errors import AwsError, Ended
from orchestrator.instances.instance import STOPPED, Instance
from orchestrator.instances.quote import FETCH_HOURS, Quote

_AT_REST = (STOPPED, "stopping")


def revive(
    account: Account, former: Sequence[Instance], offer: Quote, ssh_cidr: str | None
) -> tuple[list[Instance], list[Instance]]:
    """Returns the instances of a run over several, all up, and those of them that were started or launched.

    Those that ended are replaced first, since EC2 may have no capacity: each by one with its data volume. The
    user confirms the prices. Where one cannot be had, those that were started for it are shut down.
    """
    launching.settle(account)
    current = [ensure.trainable(account, one) for one in former]
    offer = replace(offer, spec=replace(offer.spec, group=former[0].group))
    started: list[Instance] = []
    try:
        for number, one in enumerate(current):
            if one.has_ended:
                started.append(ensure_with_volume(account, one, offer, ssh_cidr, current))
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
    rows = []
    for one in former:
        current = members.refresh_one(account, one)
        if current.has_ended or current.is_interrupted:
            usd = (
                "price not known"
                if offer.price is None
                else f"at most ${offer.price.running * offer.hours:.2f}"
            )
            rows.append((f"launch another instance for {one.label}", f"with volume {one.volume}; {usd}"))
        elif current.state in _AT_REST:
            rows.append((f"start {one.label}", prices.at_most(current, offer.hours)))
    return rows


def ensure_with_volume(
    account: Account,
    former: Instance,
    offer: Quote,
    ssh_cidr: str | None = None,
    group: Sequence[Instance] = (),
) -> Instance:
    """Returns a ready instance with the data volume of `former`, which has ended, in the same zone.

    group: the instances of a run over several, as far as they are known. NotFound if the volume does not
    exist.
    """
    launching.settle(account)
    volume = former.volume
    size = changes.find_volume(account.cloud, former, volume) if volume else 0
    if size is None:
        changes.forget_volume(account, former)
        raise _runs_are_deleted(former, f"its volume {volume} does not exist any more")
    instance = _successor(account, former, group, bool(offer.spec.rescue_of))
    if not instance:
        if not volume:
            raise _runs_are_deleted(former, "it had no data volume")
        launch_spec = replace(
            offer.spec,
            regions=(former.region,),
            zone=former.zone,
            volume=volume,
            volume_gb=size,
            data_gb=0,
            root_gb=0,
        )
        title = f"launching an instance for volume {volume}:"
        offer = replace(offer, spec=launch_spec)
        (instance,) = launching.launch_new(account, title, offer, ssh_cidr, account.records.ids())
    changes.forget_volume(account, former)
    return instance


def _runs_are_deleted(former: Instance, why: str) -> NotFound:
    next_step = "gpujob deploy JOB --on ec2 (starts a new run)"
    return NotFound(f"the runs of {former.label} are deleted with it", why, next_step)


def _successor(
    account: Account, former: Instance, group: Sequence[Instance], is_rescue: bool
) -> Instance | None:
    """Returns the instance that an earlier command launched in place of `former`, or tried to; else None.

    One without GPUs is terminated, and the volume is kept, unless it is to be fetched from (`is_rescue`).
    """
    if former.volume is None:  # it is that of its successor, which no member of the group is known to be
        known = {one.id for one in group}
        others = [one for one in account.records.members(former) if group and one.id not in known]
        return boot.wait_until_ready(account, others[0]) if others and not others[0].has_ended else None
    for attempt in account.records.attempts():
        if attempt.spec.volume == former.volume and (is_rescue or not attempt.spec.rescue_of):
            return launching.resume(account, attempt)[0]
    for instance in account.records.current():
        if instance.volume_to_attach != former.volume:
            continue
        if is_rescue or not instance.gpu_type:
            return boot.wait_until_ready(account, lifecycle.refresh(account, instance))
        changes.terminate(account, instance)
    return None


def start_to_fetch(account: Account, instance: Instance) -> Instance:
    """Starts a stopped instance to fetch from it; with a small type if its own has no capacity or quota.

    The disk stays the same. The price of the small type, which has no GPUs, is confirmed; the own type is
    restored when the instance is started to train again.
    """
    own = instance.gpu_type or instance.type
    try:
        return boot.start(account, instance, FETCH_HOURS)
    except (AwsError, Ended) as error:
        if not errors.is_shortage(error, or_quota=True):
            raise
        why, last = f"{own} cannot be started: {error.what}: {error.why}", error
    _confirm_rescue(account, instance, own, why)
    for type_ in table().rescue:
        try:
            return boot.start(account, account.records.get(instance.id), FETCH_HOURS, type_)
        except (AwsError, Ended) as error:
            if not errors.is_shortage(error, or_quota=True):
                raise
            account.ctx.talk(f"{type_} cannot be started either: {error.why}")
            last = error
    raise GpujobError(f"{instance.label} cannot be started", last.why, "the same command later")


def _confirm_rescue(account: Account, instance: Instance, own: str, why: str) -> None:
    known = [table().usd(type_, instance.region) for type_ in table().rescue]
    usd = max((price for price in known if price is not None), default=None)
    account.ctx.confirm(
        f"{why}. Starting it for an hour as {' or '.join(table().rescue)}, without GPUs, to read its disk: "
        f"{prices.at_most(prices.with_type(instance, own, usd, account.ctx.now()), FETCH_HOURS)}."
    )
