"""Finds instances that others launched for a job of the same name, before a launch and at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.errors import GpujobError
from orchestrator.instances import changes, lifecycle
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Description, Instance, label
from orchestrator.instances.spec import JOB, OWNER


def find(account: Account, job: str, regions: Iterable[str]) -> Iterator[tuple[str, Description]]:
    """Yields region and instance of each job of this name that is not on record here."""
    for region in regions:
        for other in lifecycle.list_managed(account.cloud, region):
            if other.tags.get(JOB) == job and account.records.find(other.id) is None:
                yield region, other


def require_first(
    account: Account, instance: Instance, regions: tuple[str, ...], others: tuple[str, ...]
) -> None:
    """Terminates `instance` and raises GpujobError if another client launched one for its job just before.

    regions: those that the launch could choose from. others: ids of instances that existed before, which the
    user knew of. Of two that were launched at the same
    time, each client keeps that with the earlier launch time, then that with the lower id.
    """
    rivals = [other for _, other in find(account, instance.job, regions) if other.id not in others]
    own = lifecycle.describe(account, instance.region, instance.id)
    launched = own.launched if own else instance.launched
    earlier = [other for other in rivals if (other.launched, other.id) < (launched, instance.id)]
    if not earlier:
        return
    first = min(earlier, key=lambda other: (other.launched, other.id))
    owner = first.tags.get(OWNER, "another user")
    what = f"{owner} launched {label(first.id)} for {instance.job} at the same time"
    changes.terminate(account, instance, with_volume=instance.volume_to_attach is None)
    is_own = owner == account.ctx.who
    next_step = "the same command again uses it" if is_own else "the same command with another --name"
    raise GpujobError(what, f"it was launched first, so {instance.label} is terminated", next_step)
