"""Launches instances at a price that the user confirms, and goes on with launches that were interrupted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from typing import TypeVar

from msgspec.structs import replace

from orchestrator.core.text import duration
from orchestrator.errors import GpujobError
from orchestrator.instances import boot, changes, errors, launch, lifecycle, members, region
from orchestrator.instances.cloud import Account
from orchestrator.instances.errors import Ended
from orchestrator.instances.instance import Instance, label
from orchestrator.instances.quote import Quote
from orchestrator.instances.records import LaunchAttempt
from orchestrator.instances.spec import OWNER, LaunchSpec

T = TypeVar("T")
_CAPACITY_PAUSES = (30.0, 60.0, 120.0, 300.0)  # seconds between two attempts; the last one is repeated


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
    return _carry_out(account, attempt)


def open_attempt(account: Account, launch_spec: LaunchSpec) -> LaunchAttempt | None:
    """Returns the interrupted launch for the same job, volume and purpose."""
    purpose = _purpose(launch_spec)
    return next((one for one in account.records.attempts() if _purpose(one.spec) == purpose), None)


def _purpose(launch_spec: LaunchSpec) -> tuple[str, str, str]:
    return (launch_spec.job, launch_spec.volume, launch_spec.rescue_of)


def launch_new(
    account: Account, title: str, offer: Quote, ssh_cidr: str | None, former: Collection[str]
) -> tuple[Instance, ...]:
    """Launches instances after the user confirmed their price; returns them once all are ready.

    former: ids of the instances that were on record before this command.
    """
    ctx, regions = account.ctx, offer.spec.regions
    others = [other for _, other in members.find_others(account, offer.spec.job, regions)]
    known = [
        f"{label(other.id)} of {other.tags.get(OWNER, '')} was launched for a job with the same name"
        for other in others
    ]
    lines = [*offer.lines(region.ssh_range(ctx, ssh_cidr)), *known]
    ctx.confirm("\n".join([title, *(f"  {line}" for line in lines)]))
    ids = tuple(other.id for other in others)

    def begin() -> LaunchAttempt:
        deadline, client = ctx.now() + offer.hours * 3600, account.records.client_id(ctx)
        launch_spec = replace(offer.spec, deadline=deadline, client=client)
        host_key = boot.new_host_key()
        user_data = boot.user_data(ctx, launch_spec, host_key)
        return launch.begin(account, launch_spec, user_data, host_key.public, ssh_cidr, ids)

    attempt = lambda: _launch(account, offer.spec, begin, ids, former)  # noqa: E731
    return keep_trying(account, offer.wait_hours, attempt)


def _launch(
    account: Account,
    launch_spec: LaunchSpec,
    begin: Callable[[], LaunchAttempt],
    others: tuple[str, ...],
    former: Collection[str],
) -> tuple[Instance, ...]:
    """Launches instances, or goes on with what an earlier try of this command has launched or requested.

    begin: returns a new attempt.
    """
    settle(account)
    if attempt := open_attempt(account, launch_spec):
        return _carry_out(account, attempt)
    job = (launch_spec.job, launch_spec.volume)
    for one in account.records.current():
        if one.id not in former and (one.job, one.volume_to_attach or "") == job:
            instances = _all_ready(account, account.records.members(one))
            members.require_first(account, instances, launch_spec.regions, others)
            return instances
    return _carry_out(account, begin())


def _carry_out(account: Account, attempt: LaunchAttempt) -> tuple[Instance, ...]:
    """Launches the instances of an attempt; returns them once all are ready.

    If EC2 ends one for lack of capacity, the remaining candidates are tried.
    """
    while True:
        launched = launch.resume(account, attempt)
        try:
            instances = _all_ready(account, launched)
        except Ended as ended:
            if not ended.no_capacity:
                raise
            account.ctx.talk(f"{launched[0].type} in {launched[0].zone}: {ended.why}")
            attempt = launch.begin_elsewhere(account, attempt, launched[0])
            continue
        members.require_first(account, instances, attempt.spec.regions, attempt.others)
        return instances


def _all_ready(account: Account, launched: tuple[Instance, ...]) -> tuple[Instance, ...]:
    """Returns new instances once all are ready. Where one has ended before, none is left."""
    try:
        return _wait_for_all(account, launched)
    except Ended:
        members.discard(account, launched)
        raise
    except GpujobError:
        members.discard_if_incomplete(account, launched)
        raise


def _wait_for_all(account: Account, launched: tuple[Instance, ...]) -> tuple[Instance, ...]:
    if len(launched) == 1:
        return (boot.wait_until_ready(account, launched[0]),)
    for one in launched:  # EC2 ends one that it has no capacity for within seconds: none boots in vain
        if not one.ready:
            lifecycle.wait_until(account, one, "running")
    for one in launched:
        boot.wait_until_ready(account, account.records.get(one.id))
    return account.records.members(launched[0])


def keep_trying(account: Account, hours: float, attempt: Callable[[], T]) -> T:
    """Repeats an attempt for some hours while EC2 has no capacity for it or cannot be reached."""
    ctx = account.ctx
    until = ctx.now() + hours * 3600
    pauses = itertools.chain(_CAPACITY_PAUSES, itertools.repeat(_CAPACITY_PAUSES[-1]))
    while True:
        try:
            return attempt()
        except GpujobError as error:
            left = until - ctx.now()
            if left <= 0 or not errors.may_succeed_later(error):
                raise
            pause = min(next(pauses), left)
            ctx.talk(f"{error.what}; trying again in {duration(pause)}, for {duration(left)} at most")
            ctx.sleep(pause)
