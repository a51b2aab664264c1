"""Finds and attaches the data volumes of instances."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.instances import answers, lifecycle, spec
from orchestrator.instances.cloud import Account, Cloud
from orchestrator.instances.errors import AwsError
from orchestrator.instances.instance import Instance

_PAUSES = (0.5, 1.0, 2.0, 3.0, 5.0)  # seconds between two calls


def attach(account: Account, instance: Instance) -> None:
    """Attaches the data volume of an earlier instance, which may still be releasing it."""
    volume, cloud = instance.volume_to_attach, account.cloud

    def call() -> None:
        try:
            where = {"InstanceId": instance.id, "Device": spec.DATA_DEVICE}
            cloud.call(instance.region, "attach_volume", VolumeId=volume, **where)
        except AwsError as error:
            if error.code != "VolumeInUse" or not _is_attached(cloud, instance):
                raise

    retry_while_in_use(account, call)


def _is_attached(cloud: Cloud, instance: Instance) -> bool:
    volumes = cloud.all(instance.region, *lifecycle.VOLUMES, VolumeIds=[instance.volume_to_attach])
    return any(one.instance_id == instance.id for volume in volumes for one in volume.attachments)


def retry_while_in_use(account: Account, call: Callable[[], None]) -> None:
    """Repeats a call on a volume while an instance may still be releasing it."""
    account.ctx.retry(
        call, _PAUSES * 2, AwsError, lambda error: error.code in ("VolumeInUse", "IncorrectState")
    )


def find(cloud: Cloud, instance: Instance, volume: str) -> int | None:
    """Returns the size of a volume of an instance in GB; None if it does not exist.

    AccessError where these credentials are of another account, in which it does not exist either.
    """
    volumes: list[answers.Volume] = []
    try:
        volumes = cloud.all(instance.region, *lifecycle.VOLUMES, VolumeIds=[volume])
    except AwsError as error:
        if error.code != "InvalidVolume.NotFound":
            raise
    if not volumes and instance.account:
        lifecycle.require_same_account(cloud, instance)
    return volumes[0].size if volumes else None
