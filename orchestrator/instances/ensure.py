"""Provides the instances of a job: existing ones, started if they are stopped, or new ones."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.text import duration
from orchestrator.errors import GpujobError, UsageError
from orchestrator.instances import boot, changes, errors, launching, lifecycle, members, prices
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import STOPPED, Instance
from orchestrator.instances.quote import Quote
from orchestrator.instances.spec import DEFAULT_HOURS


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
        launching.settle(account)
        attempt = launching.open_attempt(account, offer.spec)
        former, known = account.records.ids(), _on_record(account, job)
        if not known and not attempt:
            known = members.find_own(account, offer.spec)
        is_partly_shown = bool(known and attempt and known[0].launch == attempt.id)
        if known and not is_partly_shown and (usable := _use_all(account, known, offer)):
            return usable
        if attempt:
            try:
                return launching.resume(account, attempt)
            except GpujobError as error:
                if not offer.wait_hours or not errors.may_succeed_later(error):
                    raise
                account.ctx.talk(error.what)
        what = "an instance" if offer.spec.nodes == 1 else "instances"
        return launching.launch_new(account, f"launching {what}:", offer, ssh_cidr, former)


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
                _start(account, _at_rest(account, one), hours)
        except GpujobError:
            members.shut_down(account, stopped)
            raise

    launching.keep_trying(account, wait_hours, attempt)


def _start(account: Account, instance: Instance, hours: float) -> Instance:
    """Starts an instance that is stopped; waits until one that an earlier try may have started is ready."""
    current = account.records.get(instance.id)
    if current.started > instance.started:  # the request to start it was sent, and the answer may be lost
        instance = _at_rest(account, current)
    if instance.state == STOPPED:
        return boot.start(account, instance, hours)
    return boot.wait_until_ready(account, instance)


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
        return launching.keep_trying(account, wait_hours, lambda: _start(account, instance, hours))
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


def _on_record(account: Account, job: str) -> tuple[Instance, ...]:
    """Returns the latest instance of this job on record that has not ended, with those of its group."""
    latest = next((one for one in reversed(account.records.current()) if one.job == job), None)
    return account.records.members(latest) if latest else ()
