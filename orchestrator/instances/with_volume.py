"""Provides another instance for the data volume of one that has ended."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.errors import NotFound
from orchestrator.instances import changes, ensure, lifecycle
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Instance
from orchestrator.instances.quote import Quote
from orchestrator.instances.region import Ingress


def ensure_with_volume(account: Account, former: Instance, offer: Quote, ingress: Ingress) -> Instance:
    """Returns a ready instance with the data volume of `former`, which has ended, in the same zone.

    NotFound if the volume does not exist.
    """
    ensure.settle(account)
    volume = former.volume
    size = lifecycle.find_volume(account.cloud, former.region, volume) if volume else None
    if not volume or size is None:
        if volume:
            changes.forget_volume(account, former)
        why = f"its volume {volume} does not exist any more" if volume else "it had no data volume"
        next_step = "gpujob deploy JOB --on ec2 (starts a new run)"
        raise NotFound(f"the runs of {former.label} are deleted with it", why, next_step)
    instance = _resume(account, volume, bool(offer.spec.rescue_of))
    if not instance:
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


def _resume(account: Account, volume: str, is_rescue: bool) -> Instance | None:
    """Returns the instance that an earlier command launched, or tried to, for this volume; else None.

    One without GPUs is terminated, and the volume is kept, unless it is to be fetched from (`is_rescue`).
    """
    for attempt in account.records.attempts():
        if attempt.spec.volume == volume and (is_rescue or not attempt.spec.rescue_of):
            return ensure.resume(account, attempt)[0]
    for instance in account.records.current():
        if instance.volume_to_attach != volume:
            continue
        if is_rescue or not instance.gpu_type:
            return ensure.ready(account, lifecycle.refresh(account, instance))
        changes.terminate(account, instance)
    return None
