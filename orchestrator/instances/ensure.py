"""Provides the instances of a job: existing ones, started if they are stopped, or new ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from orchestrator.core.text import duration
from orchestrator.errors import GpujobError, UsageError
from orchestrator.instances import boot, changes, errors, launch, lifecycle, members, prices, region
from orchestrator.instances.cloud import Account
from orchestrator.instances.errors import Ended
from orchestrator.instances.instance import STOPPED, Instance, label
from orchestrator.instances.quote import Quote
from orchestrator.instances.records import LaunchAttempt
from orchestrator.instances.spec import DEFAULT_HOURS, OWNER

T = TypeVar("T")
_CAPACITY_PAUSES = (30.0, 60.0, 120.0, 300.0)  # seconds between two attempts; the last one is repeated


def ensure(account: Account, offer: Quote, ssh_cidr: str | None = None) -> Instance:
    """Returns a ready instance for a job of one node, as `ensure_all` does."""
    (instance,) = ensure_all(account, offer, ssh_cidr)
    return instance


def ensure_all(account: Account, offer: Quote, ssh_cidr: str | None) -> tuple[Instance, ...]:
    """Returns a ready instance for each node of a job: existing ones, else new ones at a confirmed price.

    An interrupted launch is resumed with the same request, so there are never others. ssh_cidr: the range
    that may reach port 22; None for this client's own address.
    """
    job = offer.spec.job
    with account.records.launch_lock(job) as locked:
        if not locked:
            what = f"another command is launching an instance for {job}"
            raise GpujobError(what, "", "wait for it, or use another name")
        settle(account)
        attempt = _open_attempt(account, job)
        known = _on_record(account, job)
        if not known and not attempt:
            known = members.find_own(account, offer.spec)
        is_partly_shown = bool(known and attempt and known[0].launch == attempt.id)
        if known and not is_partly_shown and (usable := _use_all(account, known, offer)):
            return usable
        if attempt:
            return resume(account, attempt)
        what = "an instance" if offer.spec.nodes == 1 else "instances"
        return launch_new(account, f"launching {what}:", offer, ssh_cidr)


def settle(account: Account) -> None:
    """Records the instances that interrupted launches created, and completes deletions that were decided.

    Calls EC2 only if there is something to do.
    """
    changes.complete(account)
    if not account.records.attempts():
        return
    for instance in launch.settle(account):
        account.ctx.talk(
            f"an interrupted launch created {instance.label} ({instance.type} in {instance.zone})"
        )


def resume(account: Account, attempt: LaunchAttempt) -> tuple[Instance, ...]:
    """Returns the instances of a launch that was interrupted, once they are ready."""
    account.ctx.talk("resuming the launch that was interrupted")
    launched = launch.resume(account, attempt)
    try:
        instances = _all_ready(account, launched)
    except GpujobError:
        members.discard_if_incomplete(account, launched)
        raise
    members.require_first(account, instances, attempt.spec.regions, attempt.others)
    return instances


def _use_all(account: Account, known: tuple[Instance, ...], offer: Quote) -> tuple[Instance, ...]:
    """Makes the job's instances ready, starting those that are stopped; returns () if they have ended."""
    if offer.spec.nodes == 1 and len(known) == 1:
        usable = _use(account, known[0], offer.hours, offer.wait_hours)
        return (usable,) if usable else ()
    current = members.refresh(account, known)
    if not current or members.discard_if_incomplete(account, known):
        return ()
    members.require_count(current, offer.spec.nodes)
    members.require_not_interrupted(current)
    if stopped := [one for one in current if one.state in (STOPPED, "stopping")]:
        start_all(account, stopped, offer.hours, offer.wait_hours)
    running = [one for one in current if one not in stopped]
    used = [_use(account, one, offer.hours) for one in running]
    return account.records.members(current[0]) if all(used) else ()


def start_all(account: Account, stopped: Sequence[Instance], hours: float, wait_hours: float) -> None:
    """Starts instances for some hours at a price the user confirms; all of them, or none stays up."""
    ctx = account.ctx
    labels = ", ".join(one.label for one in stopped)
    ctx.confirm(
        f"{labels} are stopped; starting them for {hours:.4g} h: {prices.all_at_most(stopped, hours)}."
    )

    def attempt() -> None:
        try:
            for one in stopped:
                if _at_rest(account, one).state == STOPPED:
                    boot.start(account, one, hours)
        except GpujobError:
            members.shut_down(account, stopped)
            raise

    _while_no_capacity(account, wait_hours, attempt)


def _at_rest(account: Account, instance: Instance) -> Instance:
    """Returns the instance as it is now, or once it is stopped."""
    instance = lifecycle.refresh(account, instance)
    if instance.state == "stopping":
        account.ctx.talk(f"waiting until {instance.label}, an instance of this job, is stopped")
        return lifecycle.wait_until(account, instance, STOPPED)
    return instance


def _use(account: Account, instance: Instance, hours: float, wait_hours: float = 0.0) -> Instance | None:
    """Makes the job's instance ready, starting it if it is stopped; returns None if it has ended."""
    ctx = account.ctx
    instance = _at_rest(account, instance)
    if instance.is_interrupted:
        changes.release(account, instance)
        return None
    if instance.state == STOPPED:
        what = f"{instance.label} ({instance.type}) is stopped"
        ctx.confirm(f"{what}; starting it for {hours:.4g} h: {prices.at_most(instance, hours)}.")
        return _while_no_capacity(account, wait_hours, lambda: boot.start(account, instance, hours))
    if instance.state in ("pending", "running"):
        _require_gpus(account, instance)
        remaining = duration(max(0.0, instance.deadline - ctx.now()))
        ctx.talk(
            f"using {instance.label}, {instance.type} in {instance.zone}, the instance of this job; "
            f"it shuts down in {remaining} (gpujob hosts extend)"
        )
        return boot.wait_until_ready(account, instance)
    return None


def wake(
    account: Account,
    instance: Instance,
    hours: float | None,
    budget_usd: float | None,
    wait_hours: float = 0.0,
) -> None:
    """Starts an instance that is stopped, for as long as the limits allow, at a price the user confirms."""
    instance = trainable(account, instance)
    if instance.state not in (STOPPED, "stopping"):
        return
    affordable = None
    if budget_usd is not None:
        affordable = prices.hours(instance, budget_usd)
        if affordable is None:
            why = f"the price of {instance.type} in {instance.region} is not known"
            raise UsageError("the budget cannot be converted to hours", why, "--max-hours H")
    known = [limit for limit in (hours, affordable) if limit is not None]
    _use(account, instance, min(known, default=DEFAULT_HOURS), wait_hours)


def trainable(account: Account, instance: Instance) -> Instance:
    """Returns an instance as EC2 reports it: up, stopped, or ended.

    One that cannot be started to train again is terminated; its volume is kept.
    """
    if instance.has_ended:
        return instance
    instance = lifecycle.refresh(account, instance)
    if instance.gpu_type and instance.volume and not instance.has_ended:
        account.ctx.talk(f"terminating {instance.label}, which has no GPUs; volume {instance.volume} is kept")
        return changes.terminate(account, instance)
    if instance.is_interrupted:
        return changes.release(account, instance)
    if instance.state not in (STOPPED, "stopping"):
        _require_gpus(account, instance)
    return instance


def _require_gpus(account: Account, instance: Instance) -> None:
    """Raises GpujobError for an instance that was started without its GPUs, to fetch from it."""
    if instance.gpu_type:
        what = f"{instance.label} runs as {instance.type}, without GPUs, to fetch from it"
        seconds = duration(max(0.0, instance.deadline - account.ctx.now()))
        why = f"it stops within {seconds}; then it is started as {instance.gpu_type} again"
        raise GpujobError(what, why, "gpujob hosts list")


def _open_attempt(account: Account, job: str) -> LaunchAttempt | None:
    return next((one for one in account.records.attempts() if one.spec.job == job), None)


def _on_record(account: Account, job: str) -> tuple[Instance, ...]:
    """Returns the latest instance of this job on record that has not ended, with those of its group."""
    latest = next((one for one in reversed(account.records.current()) if one.job == job), None)
    return account.records.members(latest) if latest else ()


def launch_new(account: Account, title: str, offer: Quote, ssh_cidr: str | None) -> tuple[Instance, ...]:
    """Launches instances after the user confirmed their price; returns them once all are ready."""
    ctx, regions = account.ctx, offer.spec.regions
    others = [other for _, other in members.find_others(account, offer.spec.job, regions)]
    known = [
        f"{label(other.id)} of {other.tags.get(OWNER, '')} was launched for a job with the same name"
        for other in others
    ]
    lines = [*offer.lines(region.ssh_range(ctx, ssh_cidr)), *known]
    ctx.confirm("\n".join([title, *(f"  {line}" for line in lines)]))
    ids = tuple(other.id for other in others)
    return _while_no_capacity(account, offer.wait_hours, lambda: _launch_once(account, offer, ssh_cidr, ids))


def _launch_once(
    account: Account, offer: Quote, ssh_cidr: str | None, others: tuple[str, ...]
) -> tuple[Instance, ...]:
    """Launches instances; if EC2 ends one for lack of capacity, the remaining candidates are tried.

    Where one does not become ready, none is left.
    """
    ctx = account.ctx
    deadline, client = ctx.now() + offer.hours * 3600, account.records.client_id(ctx)
    launch_spec = replace(offer.spec, deadline=deadline, client=client)
    host_key = boot.new_host_key()
    user_data = boot.user_data(ctx, launch_spec, host_key)
    attempt = launch.begin(account, launch_spec, user_data, host_key.public, ssh_cidr, others)
    while True:
        launched = launch.resume(account, attempt)
        try:
            instances = _all_ready(account, launched)
        except Ended as ended:
            members.discard(account, launched)
            if not ended.no_capacity:
                raise
            ctx.talk(f"{launched[0].type} in {launched[0].zone}: {ended.why}")
            attempt = launch.begin_elsewhere(account, attempt, launched[0])
            continue
        except GpujobError:
            members.discard_if_incomplete(account, launched)
            raise
        members.require_first(account, instances, launch_spec.regions, others)
        return instances


def _all_ready(account: Account, launched: tuple[Instance, ...]) -> tuple[Instance, ...]:
    if len(launched) == 1:
        return (boot.wait_until_ready(account, launched[0]),)
    for one in launched:  # EC2 ends one that it has no capacity for within seconds: none boots in vain
        if not one.ready:
            lifecycle.wait_until(account, one, "running")
    for one in launched:
        boot.wait_until_ready(account, account.records.get(one.id))
    return account.records.members(launched[0])


def _while_no_capacity(account: Account, hours: float, attempt: Callable[[], T]) -> T:
    """Repeats an attempt for some hours while EC2 has no capacity for it."""
    ctx = account.ctx
    until = ctx.now() + hours * 3600
    pauses = itertools.chain(_CAPACITY_PAUSES, itertools.repeat(_CAPACITY_PAUSES[-1]))
    while True:
        try:
            return attempt()
        except GpujobError as error:
            left = until - ctx.now()
            if left <= 0 or not errors.is_shortage(error):
                raise
            pause = min(next(pauses), left)
            ctx.talk(f"{error.what}; trying again in {duration(pause)}, for {duration(left)} at most")
            ctx.sleep(pause)
