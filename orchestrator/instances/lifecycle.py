"""Refreshes, starts and adopts existing instances, and cleans up after them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from orchestrator.core.spec import NAME
from orchestrator.errors import AccessError, NotFound, Unreachable
from orchestrator.instances import answers, catalog, errors, prices, region, spec
from orchestrator.instances.cloud import VISIBLE_SECONDS, Account, Cloud
from orchestrator.instances.errors import AwsError, Ended
from orchestrator.instances.instance import (
    BILLED_STATES,
    LIVE_STATES,
    STOPPED,
    Description,
    Instance,
    parse_description,
)
from orchestrator.targets.ssh import hostkeys

_PAUSES = (0.5, 1.0, 2.0, 3.0, 5.0)  # seconds between two calls
_RESERVATIONS = ("describe_instances", "Reservations", answers.Reservation)
VOLUMES = ("describe_volumes", "Volumes", answers.Volume)
_STARTING = ("pending", "running")


def refresh(account: Account, instance: Instance, absent_since: float | None = None) -> Instance:
    """Saves and returns the instance as EC2 reports it. AccessError if these credentials cannot see it.

    `absent_since`: as of Cloud.ask_again.
    """
    account.cloud.expect(instance.id, instance.launched)
    description = describe(account, instance.region, instance.id)
    if description is None:
        require_same_account(account.cloud, instance)
        if not instance.has_ended:
            ask = lambda: describe(account, instance.region, instance.id)  # noqa: E731
            description = account.cloud.ask_again(ask, absent_since)
    if description is None:
        ended = instance.observe("terminated", account.ctx.now())
        return account.records.save(replace(ended, address=None))
    return observe(account, instance, description)


def observe(account: Account, instance: Instance, description: Description) -> Instance:
    """Saves and returns the record of an instance that EC2 describes like this now."""
    now = account.ctx.now()
    observed = instance.observe(description.state, now, description.transition_reason, description.launched)
    observed = _retyped(account, observed, description.type)
    return account.records.save(
        replace(
            observed,
            address=description.private_address if instance.private_ip else description.address,
            state_reason=description.state_reason,
            spot_request=description.spot_request or instance.spot_request,
            volume=description.data_volume or instance.volume,
            account=description.account or instance.account,
            security_group=description.security_group or instance.security_group,
        )
    )


def describe(account: Account, region: str, instance_id: str) -> Description | None:
    """Returns what EC2 reports of an instance; None if EC2 does not know it, as an hour after its end."""
    try:
        every = account.cloud.all(region, *_RESERVATIONS, InstanceIds=[instance_id])
    except AwsError as error:
        if error.code != "InvalidInstanceID.NotFound":
            raise
        return None
    return next((one for each in every for one in descriptions(each)), None)


def descriptions(reservation: answers.Reservation) -> Iterator[Description]:
    """Yields the instances of a reservation, as RunInstances and DescribeInstances return it."""
    return (parse_description(one, reservation.owner_id) for one in reservation.instances)


def require_same_account(cloud: Cloud, instance: Instance) -> None:
    """Raises AccessError if the credentials are of another account, which cannot see the instance."""
    account = cloud.read(instance.region, "get_caller_identity", answers.Identity, service="sts").account
    if instance.account != account:
        what = f"{instance.label} cannot be seen with these credentials"
        why = f"they are of account {account}, the instance is in {instance.account or 'an unknown account'}"
        raise AccessError(what, why, "AWS_PROFILE=NAME")


def wait_until(account: Account, instance: Instance, state: str, seconds: float = 600.0) -> Instance:
    """Waits until the instance has the `state`; returns it. Raises Ended if it ends instead.

    Raises Unreachable after `seconds`.
    """
    end, pauses = account.ctx.now() + seconds, iter(_PAUSES)
    while True:
        instance, busy = _refresh_unless_busy(account, instance)
        if busy and account.ctx.now() > end:
            raise busy
        if busy:
            account.ctx.talk(f"{busy.what}; asking again")
            account.ctx.sleep(_PAUSES[-1])
            continue
        if instance.state == state:
            return instance
        is_late = instance.state == STOPPED and account.ctx.now() - instance.started < VISIBLE_SECONDS
        if instance.has_ended or (state == "running" and instance.state not in _STARTING and not is_late):
            raise Ended(instance)
        if account.ctx.now() > end:
            what = f"{instance.label} is still {instance.state}"
            raise Unreachable(what, f"after {seconds:.0f} s", "gpujob hosts list")
        account.ctx.sleep(next(pauses, _PAUSES[-1]))


def _refresh_unless_busy(account: Account, instance: Instance) -> tuple[Instance, AwsError | None]:
    """Returns the refreshed record; if EC2 is too busy to answer, the present one and the error."""
    try:
        return refresh(account, instance), None
    except AwsError as error:
        if errors.action(error.code, error.status) is not errors.Action.RETRY:
            raise
        return instance, error


def allow_ssh(account: Account, instance: Instance) -> None:
    """Opens port 22 to this client's present address, or to the range of its launch."""
    if not instance.owns_group or not instance.security_group:
        return
    cidr = region.ssh_range(account.ctx, instance.ssh_cidr)
    job = instance.job if instance.group else ""
    region.allow_ssh(account, instance.region, cidr, instance.security_group, job)


def start(account: Account, instance: Instance, user_data: str, deadline: float) -> Instance:
    """Starts a stopped instance with a new deadline in its user-data; returns it once it is running."""
    _change_stopped(account, instance, "modify_instance_attribute", UserData={"Value": user_data.encode()})
    tag_deadline(account.cloud, instance, deadline)
    changes = {"deadline": deadline, "started": account.ctx.now(), "ready": False}
    instance = account.records.save(replace(instance, **changes))
    account.cloud.call(instance.region, "start_instances", InstanceIds=[instance.id])
    return wait_until(account, instance, "running")


def _change_stopped(account: Account, instance: Instance, operation: str, **parameters: Any) -> None:
    """Makes a call that EC2 refuses while it still counts an instance that has just stopped as stopping."""
    account.ctx.retry(
        lambda: account.cloud.call(instance.region, operation, InstanceId=instance.id, **parameters),
        _PAUSES * 2,
        AwsError,
        lambda error: error.code == "IncorrectInstanceState",
    )


def set_type(account: Account, instance: Instance, type_: str) -> Instance:
    """Changes the type of a stopped instance; returns its record with the price of the new type."""
    if instance.type == type_:
        return instance
    _change_stopped(account, instance, "modify_instance_attribute", InstanceType={"Value": type_})
    return refresh(account, instance)


def _retyped(account: Account, instance: Instance, type_: str) -> Instance:
    """Returns the record of an instance that EC2 reports to have another type, with the price of that."""
    if not instance.type or type_ in ("", instance.type):
        return instance
    price = prices.current(account.cloud, instance.region, instance.zone, type_, instance.spot)
    gpu_type, is_rescue = instance.gpu_type or instance.type, type_ in catalog.table().rescue
    former = instance.usd_per_hour if instance.gpu_usd_per_hour is None else instance.gpu_usd_per_hour
    instance = prices.with_type(instance, type_, price, account.ctx.now())
    return replace(
        instance,
        gpu_type=gpu_type if is_rescue else "",
        gpu_usd_per_hour=former if is_rescue else None,
    )


def tag_deadline(cloud: Cloud, instance: Instance, deadline: float) -> None:
    """Writes the deadline to the instance's tags, for other clients."""
    tags = spec.to_tag_list({spec.EXPIRES: str(int(deadline))})
    cloud.call(instance.region, "create_tags", Resources=[instance.id], Tags=tags)


def tag_use(account: Account, instance: Instance) -> None:
    """Writes to the instance's tags that this client uses it: the client that launched it then keeps it."""
    tags = spec.to_tag_list({spec.USED_BY: account.records.client_id(account.ctx)})
    try:
        account.cloud.call(instance.region, "create_tags", Resources=[instance.id], Tags=tags)
    except AwsError as error:
        account.ctx.warn(f"{instance.label} could not be marked as used: {error.what}: {error.why}")


def is_used_elsewhere(account: Account, instance: Instance) -> bool:
    """Returns whether another client of the user uses an instance that this one has launched."""
    description = describe(account, instance.region, instance.id)
    user = description.tags.get(spec.USED_BY, "") if description else ""
    return user not in ("", account.records.client_id(account.ctx))


def clean_up(account: Account, instance: Instance) -> None:
    """Forgets an ended instance's host key; deletes its security group unless another instance uses it."""
    hostkeys.forget(account.ctx, instance.id)
    group = instance.security_group
    others = [one for one in account.records.current() if one.security_group == group]
    if group and instance.managed and instance.owns_group and not others:
        try:
            region.delete_group(account.cloud, instance.region, group)
        except AwsError as error:
            if errors.action(error.code, error.status) is errors.Action.RETRY:
                raise
            account.ctx.warn(f"security group {group} is kept: {error.what}: {error.why}")


def list_managed(cloud: Cloud, region: str, states: tuple[str, ...] = LIVE_STATES) -> Iterator[Description]:
    """Yields every instance of a region that has gpujob's tag and is in one of the states."""
    return described(cloud, region, {f"tag:{spec.MANAGED}": ["1"], "instance-state-name": states})


def described(cloud: Cloud, region: str, filters: Mapping[str, Sequence[str]]) -> Iterator[Description]:
    """Yields every instance of a region that all filters select."""
    for each in cloud.some(region, *_RESERVATIONS, filters):
        yield from descriptions(each)


def adopt(account: Account, instance_id: str, regions: list[str]) -> Instance:
    """Creates a record for an instance from what EC2 and its tags report. NotFound if no region has it."""
    for each in regions:
        if description := describe(account, each, instance_id):
            return account.records.save(_from_tags(account, each, description))
    raise NotFound(
        f"there is no instance {instance_id}", f"searched {', '.join(regions)}", "gpujob hosts list"
    )


def _from_tags(account: Account, region: str, description: Description) -> Instance:
    tags, job = description.tags, description.tags.get(spec.JOB, "")
    sizes = disk_sizes(account.cloud, region, description.id)
    instance = replace(
        new_record(account, region, description),
        address=description.address or description.private_address,
        private_ip=description.address is None and description.state == "running",
        job=job if NAME.match(job) else "",  # any user of the account may change it
        launch=tags.get(spec.ATTEMPT),
        group=tags.get(spec.GROUP, ""),
        managed=tags.get(spec.MANAGED) == "1",
        disk_gb=sum(sizes.values()),
        volume=description.data_volume,
        volume_gb=sizes.get(description.data_volume or "", 0),
        deadline=description.expires or description.launched,
        host_key_rotated=True,
        ready=True,
    )
    return instance.observe(description.state, account.ctx.now(), description.transition_reason)


def new_record(account: Account, region: str, of: Description, spot: bool = False) -> Instance:
    """Returns a record with what EC2 describes of an instance, as if it had been running since its launch.

    spot: it was asked for as a spot instance, which a description may not show yet.
    """
    is_spot = of.spot or spot
    return Instance(
        id=of.id,
        region=region,
        launched=of.launched,
        zone=of.zone,
        type=of.type,
        spot=is_spot,
        spot_request=of.spot_request,
        checked=of.launched,
        started=of.launched,
        account=of.account,
        security_group=of.security_group,
        usd_per_hour=prices.current(account.cloud, region, of.zone, of.type, is_spot),
    )


def usd_per_hour(
    cloud: Cloud, region: str, of: Description, gb: int, usd: float | None = None
) -> float | None:
    """Returns USD per hour of an instance in its present state, with `gb` of disks; None if not known.

    usd: the price of the machine alone, if it is on record.
    """
    if of.state not in BILLED_STATES:
        return prices.disk_per_month(gb, region) / prices.HOURS_PER_MONTH
    if usd is None:
        usd = prices.current(cloud, region, of.zone, of.type, of.spot)
    return None if usd is None else prices.hourly(usd, gb, region).running


def disk_sizes(cloud: Cloud, region: str, instance_id: str) -> dict[str, int]:
    """Returns the volumes that are attached to an instance, with their sizes in GB."""
    volumes = cloud.some(region, *VOLUMES, {"attachment.instance-id": [instance_id]})
    return {volume.volume_id: volume.size for volume in volumes}
