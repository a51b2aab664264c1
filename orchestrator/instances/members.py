"""The instances of a job: of several that train as one all are up, or none is; and those of others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from orchestrator.core import groups
from orchestrator.core.text import counted
from orchestrator.errors import GpujobError
from orchestrator.instances import changes, connection, lifecycle
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import TERMINATED, Description, Instance, label
from orchestrator.instances.records import Change
from orchestrator.instances.spec import GROUP, JOB, OWNER, LaunchSpec
from orchestrator.targets import helper


def refresh(account: Account, instances: Sequence[Instance]) -> list[Instance]:
    """Returns those that EC2 reports not to have ended."""
    current = [lifecycle.refresh(account, one) for one in instances]
    return [one for one in current if not one.has_ended]


def refresh_one(account: Account, instance: Instance) -> Instance:
    """Returns an instance as EC2 reports it, unless it is known to have ended."""
    return instance if instance.has_ended else lifecycle.refresh(account, instance)


def require_count(instances: Sequence[Instance], nodes: int) -> None:
    """Raises GpujobError where a job has another number of instances than it asks for."""
    if len(instances) == nodes:
        return
    labels, job = groups.join([one.label for one in instances]), instances[0].job
    what = f"{job} has {counted(len(instances), 'instance')}, and resources.nodes is {nodes}"
    raise GpujobError(what, labels, f"gpujob hosts down {labels}; or another --name")


def require_not_interrupted(instances: Sequence[Instance]) -> None:
    """Raises GpujobError for a spot instance that only EC2 can start."""
    for one in instances:
        if one.is_interrupted:
            labels = groups.join([each.label for each in instances])
            why = "only EC2 starts it again, when there is capacity"
            next_step = f"gpujob deploy --resume {one.run or 'RUN'}, or gpujob hosts down {labels}"
            raise GpujobError(f"{one.label} is a spot instance that EC2 stopped", why, next_step)


def discard_if_incomplete(account: Account, launched: Sequence[Instance]) -> bool:
    """Ends a group of which one instance has ended before it was ready, and that was never used.

    Returns whether it did.
    """
    group = launched[0].group
    every = [one for one in account.records.all() if one.group == group]
    is_unused = all(one.run is None and not one.volume_to_attach for one in every)
    was_never_ready = any(one.has_ended and not one.ready and one.started == one.launched for one in every)
    if not (group and is_unused and was_never_ready):
        return False
    discard(account, every)
    return True


def discard(account: Account, launched: Sequence[Instance]) -> None:
    """Ends what is left of new instances of which one ended before it was ready: nothing is on them.

    A single one that is ready, or that another client of the user uses, is kept.
    """
    current = [account.records.find(one.id) or one for one in launched]
    if len(current) > 1:
        _discard_group(account, current)
    elif not current[0].ready and not lifecycle.is_used_elsewhere(account, current[0]):
        _discard_each(account, current)


def _discard_group(account: Account, group: Sequence[Instance]) -> None:
    others = [one for one in group if not one.has_ended]
    if others:
        labels = ", ".join(one.label for one in others)
        account.ctx.talk(f"terminating {labels}: all instances of a run are up, or none is")
    _discard_each(account, group)
    for one in others:
        with contextlib.suppress(GpujobError):  # a later command completes it
            lifecycle.wait_until(account, one, TERMINATED, changes.PATIENCE)
    changes.complete(account)


def _discard_each(account: Account, instances: Sequence[Instance]) -> None:
    """Ends each that has not ended, each spot request, for which EC2 would launch another, and each volume.

    All of it is recorded before anything is sent.
    """
    for one in instances:
        if one.spot or not one.has_ended:
            account.records.save_change(Change("terminate", one.id, one.region, one.id))
        if one.volume and not one.volume_to_attach:
            account.records.save_change(Change("delete-volume", one.volume, one.region, one.id))
    changes.complete(account)


def shut_down(account: Account, instances: Sequence[Instance]) -> None:
    """Makes running instances stop themselves within seconds; their disks are kept."""
    for one in instances:
        record = account.records.get(one.id)
        if not record.ready or not record.is_billed:
            continue
        account.ctx.talk(f"stopping {one.label}: all instances of a run are up, or none is")
        try:
            with contextlib.closing(connection.connect(account, record)) as host:
                helper.set_deadline(host, account.ctx.now())
            account.records.save(replace(record, deadline=account.ctx.now()))
        except GpujobError as error:
            account.ctx.warn(f"{one.label} stops at the end of its lease: {error.what}")


def find_others(account: Account, job: str, regions: Iterable[str]) -> Iterator[tuple[str, Description]]:
    """Yields region and instance of each job of this name that is not on record here."""
    for region in regions:
        for other in lifecycle.list_managed(account.cloud, region):
            if other.tags.get(JOB) == job and account.records.find(other.id) is None:
                yield region, other


def find_own(account: Account, launch_spec: LaunchSpec) -> tuple[Instance, ...]:
    """Returns the user's instances of this job, found by their tags, if their records were lost."""
    own = [
        (name, other)
        for name, other in find_others(account, launch_spec.job, launch_spec.regions)
        if other.tags.get(OWNER, "") == account.ctx.who
    ]
    group = own[0][1].tags.get(GROUP) if own else None
    alike = [one for one in own if group and one[1].tags.get(GROUP) == group]
    adopted = tuple(lifecycle.adopt(account, other.id, [name]) for name, other in alike or own[:1])
    for one in adopted:
        lifecycle.tag_use(account, one)
    return adopted


def require_first(
    account: Account, launched: Sequence[Instance], regions: tuple[str, ...], others: tuple[str, ...]
) -> None:
    """Terminates the instances and raises GpujobError if another client launched for their job just before.

    regions: those that the launch could choose from. others: ids of instances that existed before, which the
    user knew of. Of two that were launched at the same time, each client keeps that with the earlier launch
    time, then that with the lower id; of several instances the earliest counts.
    """
    instance = launched[0]
    rivals = [other for _, other in find_others(account, instance.job, regions) if other.id not in others]
    if not rivals:
        return
    earliest = min(_launch_order(account, one) for one in launched)
    earlier = [other for other in rivals if (other.launched, other.id) < earliest]
    if not earlier:
        return
    first = min(earlier, key=lambda other: (other.launched, other.id))
    labels = " and ".join(one.label for one in launched)
    owner = first.tags.get(OWNER, "another user")
    what = f"{owner} launched {label(first.id)} for {instance.job} at the same time"
    for one in launched:
        changes.terminate(account, one, with_volume=one.volume_to_attach is None)
    is_own = owner == account.ctx.who
    next_step = "the same command again uses it" if is_own else "the same command with another --name"
    raise GpujobError(what, f"it was launched first, so {labels} is terminated", next_step)


def _launch_order(account: Account, instance: Instance) -> tuple[float, str]:
    own = lifecycle.describe(account, instance.region, instance.id)
    return (own.launched if own else instance.launched, instance.id)
