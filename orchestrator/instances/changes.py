"""Deletions that were decided, and the data volumes of instances.

Each deletion is on the client's disk first, so that a later command completes it.

A client that is killed, a lost connection, or an instance that takes long to end leaves nothing behind: every
command that lists or launches instances calls `complete`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.errors import GpujobError, Unreachable
from orchestrator.instances import lifecycle, prices, spec
from orchestrator.instances.cloud import Account, Cloud
from orchestrator.instances.errors import AwsError
from orchestrator.instances.instance import TERMINATED, Description, Instance
from orchestrator.instances.records import Change

_BUSY = ("VolumeInUse", "IncorrectState", "DependencyViolation")
"""Codes of EC2 while something that is ending still uses a resource."""
PATIENCE = 600.0
"""Seconds to wait for an instance to be terminated; then a later command completes the rest."""
_IN_USE = ("VolumeInUse", "IncorrectState")
_IN_USE_PAUSES = (0.5, 1.0, 2.0, 3.0, 5.0)  # seconds between two calls on a volume that may be in use
_ATTACH_PAUSES = (*_IN_USE_PAUSES, *[10.0] * 30)  # an instance that hangs releases it when EC2 forces it off


def terminate(account: Account, instance: Instance, with_volume: bool = False) -> Instance:
    """Terminates an instance, with its data volume if asked for; returns its record.

    Unreachable if EC2 takes longer than PATIENCE: the next command completes it.
    """
    decide(account, instance, with_volume)
    _send_termination(account, instance.region, instance.id)
    instance = lifecycle.wait_until(account, instance, TERMINATED, PATIENCE)
    complete(account)
    return account.records.find(instance.id) or instance


def decide(account: Account, instance: Instance, with_volume: bool) -> None:
    """Records the termination of an instance, before EC2 gets a request."""
    account.records.save_change(Change("terminate", instance.id, instance.region, instance.id))
    if with_volume and instance.volume:
        account.records.save_change(Change("delete-volume", instance.volume, instance.region, instance.id))


def release(account: Account, instance: Instance) -> Instance:
    """Terminates a spot instance that is stopped, since only EC2 can start it; its data volume is kept."""
    account.ctx.confirm(
        f"{instance.label} is a spot instance that is stopped, and only EC2 starts it again, when there is "
        f"capacity. It is terminated now; volume {instance.volume} with its runs is kept."
    )
    return terminate(account, instance)


def delete_volume(account: Account, instance: Instance, volume: str) -> None:
    """Deletes the volume with the runs of an instance. Unreachable while it is in use."""
    change = Change("delete-volume", volume, instance.region, instance.id)
    account.records.save_change(change)
    _retry_while_in_use(account, lambda: _delete_volume(account, change))
    account.records.close_change(change.id)


def complete(account: Account) -> None:
    """Tries every open change once. One that is not possible yet, or that EC2 refuses, stays open."""
    for change in account.records.changes():
        try:
            if _try(account, change):
                account.records.close_change(change.id)
        except GpujobError as error:
            account.ctx.warn(f"{change} is not done yet: {error.what}: {error.why}")


def _try(account: Account, change: Change) -> bool:
    """Returns whether the change is done; False while EC2 is still carrying out an earlier one."""
    if change.kind == "terminate":
        return _terminate(account, change)
    try:
        _DELETIONS[change.kind](account, change)
    except AwsError as error:
        if error.code in _BUSY:
            account.ctx.talk(f"{change} is not possible yet ({error.code}); the next command tries again")
            return False
        raise
    return True


def _terminate(account: Account, change: Change) -> bool:
    record, description = account.records.find(change.id), None
    if record:
        record = lifecycle.refresh(account, record)
        state = record.state
    else:
        description = lifecycle.describe(account, change.region, change.id)
        state = description.state if description else TERMINATED
    if state not in ("shutting-down", TERMINATED):
        _send_termination(account, change.region, change.id, description)
        return False
    _cancel_request(account, change.region, change.id, description)
    if state != TERMINATED:
        account.ctx.talk(f"{change} is still going on; the next command checks again")
        return False
    if record:
        lifecycle.clean_up(account, record)
    return True


def _send_termination(
    account: Account, region: str, instance_id: str, description: Description | None = None
) -> None:
    """Cancels the spot request of an instance first: EC2 would launch another instance for it."""
    _cancel_request(account, region, instance_id, description)
    change = Change("terminate", instance_id, region)
    if description and _keeps_untagged_volume(description):
        disk = {"DeviceName": spec.DATA_DEVICE, "Ebs": {"DeleteOnTermination": True}}
        parameters = {"InstanceId": instance_id, "BlockDeviceMappings": [disk]}
        _call(account, change, "modify_instance_attribute", **parameters)
    _call(account, change, "terminate_instances", InstanceIds=[instance_id])


def _keeps_untagged_volume(of: Description) -> bool:
    """Whether an instance has a data volume that nothing would find once the instance is terminated."""
    return of.spot and of.data_volume is not None and spec.MANAGED not in of.tags


def _cancel_request(account: Account, region: str, instance_id: str, description: Description | None) -> None:
    record = account.records.find(instance_id)
    request = record.spot_request if record else None
    if not request and (record is None or record.spot):
        description = description or lifecycle.describe(account, region, instance_id)
        request = description.spot_request if description else None
    if request:
        _cancel(account, Change("cancel-request", request, region))


def _cancel(account: Account, change: Change) -> None:
    ids = [change.id]
    _call(account, change, "cancel_spot_instance_requests", SpotInstanceRequestIds=ids)


def _delete_interface(account: Account, change: Change) -> None:
    _call(account, change, "delete_network_interface", NetworkInterfaceId=change.id)


def _call(account: Account, change: Change, operation: str, **parameters: Any) -> None:
    """Makes the call of a change, which another client may have made already.

    AccessError where these credentials are of another account, in which there is no such resource either.
    """
    record = _record_of(account, change)
    if record:  # right after the launch EC2 may not know what it created
        account.cloud.expect(change.id, record.launched)

    def is_made() -> bool | None:
        try:
            account.cloud.call(change.region, operation, **parameters)
        except AwsError as error:
            if not error.code.endswith(".NotFound"):
                raise
            return None
        return True

    if not is_made():
        if record and record.account:
            lifecycle.require_same_account(account.cloud, record)
        account.cloud.ask_again(is_made)


def _record_of(account: Account, change: Change) -> Instance | None:
    """Returns the record of the instance that the resource of a change is, or belongs to."""
    if record := account.records.find(change.instance or change.id):
        return record
    owners = (one for one in account.records.all() if change.id in (one.volume, one.spot_request))
    return next(owners, None)


def _delete_volume(account: Account, change: Change) -> None:
    _call(account, change, "delete_volume", VolumeId=change.id)
    record = account.records.find(change.instance)
    if record and record.volume == change.id:
        account.records.save(prices.without_volume(record, account.ctx.now()))


def forget_volume(account: Account, instance: Instance) -> Instance:
    """Records that the volume of an instance that ended belongs to another instance now, or is gone."""
    return account.records.save(prices.without_volume(instance, account.ctx.now()))


def attach_volume(account: Account, instance: Instance) -> None:
    """Attaches the data volume of an earlier instance, which may still be releasing it."""
    volume, cloud = instance.volume_to_attach, account.cloud
    announce = functools.cache(account.ctx.talk)

    def call() -> None:
        try:
            where = {"InstanceId": instance.id, "Device": spec.DATA_DEVICE}
            cloud.call(instance.region, "attach_volume", VolumeId=volume, **where)
        except AwsError as error:
            if error.code != "VolumeInUse" or not _is_attached(cloud, instance):
                announce(f"waiting until volume {volume} is released ({error.code})")
                raise

    try:
        _retry_while_in_use(account, call, _ATTACH_PAUSES)
    except AwsError as error:
        if error.code not in _IN_USE:
            raise
        what = f"volume {volume} is still attached to another instance, so {instance.label} cannot use it"
        raise Unreachable(what, error.message, "the same command again, which goes on") from None


def _is_attached(cloud: Cloud, instance: Instance) -> bool:
    volumes = cloud.all(instance.region, *lifecycle.VOLUMES, VolumeIds=[instance.volume_to_attach])
    return any(one.instance_id == instance.id for volume in volumes for one in volume.attachments)


def _retry_while_in_use(
    account: Account, call: Callable[[], None], pauses: Sequence[float] = _IN_USE_PAUSES * 2
) -> None:
    """Repeats a call on a volume while an instance may still be releasing it."""
    account.ctx.retry(call, pauses, AwsError, lambda error: error.code in _IN_USE)


def find_volume(cloud: Cloud, instance: Instance, volume: str) -> int | None:
    """Returns the size of a volume of an instance in GB; None if it does not exist.

    AccessError where these credentials are of another account, in which it does not exist either.
    """
    size = _volume_size(cloud, instance.region, volume)
    if size is None and instance.account:
        lifecycle.require_same_account(cloud, instance)
    return size if size is not None else cloud.ask_again(lambda: _volume_size(cloud, instance.region, volume))


def _volume_size(cloud: Cloud, region: str, volume: str) -> int | None:
    try:
        volumes = cloud.all(region, *lifecycle.VOLUMES, VolumeIds=[volume])
    except AwsError as error:
        if error.code != "InvalidVolume.NotFound":
            raise
        return None
    return volumes[0].size if volumes else None


_DELETIONS = {
    "delete-volume": _delete_volume,
    "cancel-request": _cancel,
    "delete-interface": _delete_interface,
}
"""Kind of a change → what carries it out, for all but terminations."""
