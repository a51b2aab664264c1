"""Finds instances that others launched for a job of the same name, before a launch and at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orchestrator.errors import GpujobError
from orchestrator.instances import changes, lifecycle
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Description, Instance, label
from orchestrator.instances.spec import GROUP, JOB, OWNER, LaunchSpec


def find(account: Account, job: str, regions: Iterable[str]) -> Iterator[tuple[str, Description]]:
    """Yields region and instance of each job of this name that is not on record here."""
    for region in regions:
        for other in lifecycle.list_managed(account.cloud, region):
            if other.tags.get(JOB) == job and account.records.find(other.id) is None:
                yield region, other


def find_own(account: Account, launch_spec: LaunchSpec) -> tuple[Instance, ...]:
    """Returns the user's instances of this job, found by their tags, if their records were lost."""
    own = [
        (name, other)
        for name, other in find(account, launch_spec.job, launch_spec.regions)
        if other.tags.get(OWNER, "") == account.ctx.who
    ]
    group = own[0][1].tags.get(GROUP) if own else None
    alike = [one for one in own if group and one[1].tags.get(GROUP) == group]
    return tuple(lifecycle.adopt(account, other.id, [name]) for name, other in alike or own[:1])


def require_first(
    account: Account, launched: Sequence[Instance], regions: tuple[str, ...], others: tuple[str, ...]
) -> None:
    """Terminates the instances and raises GpujobError if another client launched for their job just before.

    regions: those that the launch could choose from. others: ids of instances that existed before, which the
    user knew of. Of two that were launched at the same
    time, each client keeps that with the earlier launch time, then that with the lower id; of several
    instances the earliest counts.
    """
    instance = launched[0]
    rivals = [other for _, other in find(account, instance.job, regions) if other.id not in others]
    if not rivals:
        return
    earliest = min(_order(account, one) for one in launched)
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


def _order(account: Account, instance: Instance) -> tuple[float, str]:
    own = lifecycle.describe(account, instance.region, instance.id)
    return (own.launched if own else instance.launched, instance.id)
