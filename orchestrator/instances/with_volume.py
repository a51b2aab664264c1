"""Provides another instance for the data volume of one that has ended."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from orchestrator.errors import NotFound
from orchestrator.instances import changes, data_volumes, ensure, lifecycle
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Instance
from orchestrator.instances.quote import Quote
from orchestrator.instances.region import Ingress


def ensure_with_volume(
    account: Account, former: Instance, offer: Quote, ingress: Ingress, group: Sequence[Instance] = ()
) -> Instance:
    """Returns a ready instance with the data volume of `former`, which has ended, in the same zone.

    group: the instances of a run over several, as far as they are known. NotFound if the volume does not
    exist.
    """
    ensure.settle(account)
    volume = former.volume
    size = data_volumes.find(account.cloud, former, volume) if volume else 0
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
        (instance,) = ensure.launch_new(account, title, replace(offer, spec=launch_spec), ingress)
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
        return ensure.ready(account, others[0]) if others and not others[0].has_ended else None
    for attempt in account.records.attempts():
        if attempt.spec.volume == former.volume and (is_rescue or not attempt.spec.rescue_of):
            return ensure.resume(account, attempt)[0]
    for instance in account.records.current():
        if instance.volume_to_attach != former.volume:
            continue
        if is_rescue or not instance.gpu_type:
            return ensure.ready(account, lifecycle.refresh(account, instance))
        changes.terminate(account, instance)
    return None
