"""Boxes that stand: what EC2 says of them, kept on record; stop, start, terminate, extend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.context import Context
from orchestrator.errors import AccessError, GpujobError, NotFound, Unreachable
from orchestrator.instances import launch, ledger, network, prices
from orchestrator.instances.awserrors import AwsError
from orchestrator.instances.cloud import Cloud
from orchestrator.store import Record, Store
from orchestrator.targets.ssh import hostkeys

SEEN_WITHIN = 60.0  # seconds until every part of EC2 knows of a new box
_PAUSES = (0.5, 1.0, 2.0, 3.0, 5.0)
_STARTING = ("pending", "running")


class Stopped(Unreachable):
    """The box is switched off, its disk kept."""


def refresh(ctx: Context, store: Store, cloud: Cloud, box: Record) -> Record:
    """The box as EC2 has it now, on record. AccessError where these credentials are of another account."""
    found = describe(ctx, cloud, box["region"], box["id"], ctx.now() - box["launched"] < SEEN_WITHIN)
    if found is None:
        _same_account(cloud, box)
    state = found["State"]["Name"] if found else "terminated"
    reason = (found or {}).get("StateTransitionReason", "")
    seen = ledger.observed(box, state, ctx.now(), reason)
    seen["address"] = (found or {}).get("PublicIpAddress")
    seen["why"] = ((found or {}).get("StateReason") or {}).get("Code", "")
    seen["volume"] = _data_volume(found) or box["volume"]
    seen["account"] = (found or {}).get("OwnerId") or box["account"]
    seen["group"] = group_of(found or {}) or box.get("group")
    store.write_box(seen)
    return seen


def describe(ctx: Context, cloud: Cloud, region: str, box_id: str, new: bool) -> dict[str, Any] | None:
    """As `instances` gives it; None for a box that EC2 does not know (an hour after its
    end). A `new` one may not be known yet."""
    waited = 0.0
    while True:
        try:
            found = cloud.call(region, "describe_instances", InstanceIds=[box_id])["Reservations"]
            return next(instances(found[0])) if found else None
        except AwsError as error:
            if error.code != "InvalidInstanceID.NotFound":
                raise
            if not new or waited > SEEN_WITHIN:
                return None
        ctx.sleep(2.0)
        waited += 2.0


def instances(reservation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those of an answer of EC2, each with its account, which stands beside them there."""
    for one in reservation["Instances"]:
        yield {**one, "OwnerId": reservation.get("OwnerId")}


def _same_account(cloud: Cloud, box: Record) -> None:
    """A box that is not found has ended only where it would be seen."""
    account = cloud.call(box["region"], "get_caller_identity", service="sts")["Account"]
    if box["account"] != account:
        what = f"{launch.label(box['id'])} cannot be seen with these credentials"
        why = f"they are of account {account}, the box is in {box['account'] or 'one that is not on record'}"
        raise AccessError(what, why, "AWS_PROFILE=NAME")


def group_of(found: dict[str, Any]) -> str | None:
    """The security group that an instance stands in: the one that lets us in, wherever we are called what."""
    groups = found.get("SecurityGroups")
    return str(groups[0]["GroupId"]) if groups else None


def _data_volume(found: dict[str, Any] | None) -> str | None:
    for mapping in (found or {}).get("BlockDeviceMappings", []):
        if mapping["DeviceName"] == launch.DATA_DEVICE:
            return str(mapping["Ebs"]["VolumeId"])
    return None


def until(
    ctx: Context, store: Store, cloud: Cloud, box: Record, state: str, seconds: float = 600.0
) -> Record:
    """Waits for a state. GpujobError for a box that ends instead, with EC2's own reason."""
    end, pauses = ctx.now() + seconds, iter(_PAUSES)
    while True:
        box = refresh(ctx, store, cloud, box)
        if box["state"] == state:
            return box
        if box["state"] in ledger.ENDED or (state == "running" and box["state"] not in _STARTING):
            raise Ended(box)
        if ctx.now() > end:
            raise Unreachable(
                f"{launch.label(box['id'])} is still {box['state']}",
                f"after {seconds:.0f} s",
                "gpujob hosts list",
            )
        ctx.sleep(next(pauses, 5.0))


class Ended(GpujobError):
    """A box that ended while it was waited for. `capacity`: another place may have one."""

    def __init__(self, box: Record) -> None:
        why = box.get("why") or "EC2 gives no reason"
        super().__init__(f"{launch.label(box['id'])} is {box['state']}", why, "the same command again")
        self.capacity = "InsufficientInstanceCapacity" in why


def renew_rule(ctx: Context, cloud: Cloud, box: Record) -> None:
    """This machine's address as it is now is the one that is let in, unless a range was typed."""
    cidr = network.ingress(ctx, box.get("cidr"), world=True)
    network.admit(ctx, cloud, box["region"], cidr, box.get("group"))


def start(ctx: Context, store: Store, cloud: Cloud, box: Record, user_data: str, deadline: float) -> Record:
    """Brings a stopped box up under a new deadline: in its user-data, since its own switch reads it there."""
    where = {"InstanceId": box["id"]}
    cloud.call(box["region"], "modify_instance_attribute", **where, UserData={"Value": user_data.encode()})
    tag_deadline(cloud, box, deadline)
    store.write_box(box := {**box, "deadline": deadline, "booted": ctx.now(), "ready": False})
    cloud.call(box["region"], "start_instances", InstanceIds=[box["id"]])
    return until(ctx, store, cloud, box, "running")


def terminate(ctx: Context, store: Store, cloud: Cloud, box: Record) -> Record:
    """Ends a box for good; its root disk goes with it, a data volume does not."""
    try:
        cloud.call(box["region"], "terminate_instances", InstanceIds=[box["id"]])
    except AwsError as error:
        if error.code != "InvalidInstanceID.NotFound":
            raise
    box = until(ctx, store, cloud, box, "terminated")
    clear(ctx, store, cloud, box)
    return box


def clear(ctx: Context, store: Store, cloud: Cloud, box: Record) -> None:
    """After the end of a box: its host key off the record, and with the last of a group the group."""
    hostkeys.forget(ctx, box["id"])
    group = box.get("group")
    inside = [one for one in ledger.living(store.boxes()) if one.get("group") == group]
    if group and box.get("managed", True) and not inside:
        network.drop(cloud, box["region"], group)


def attach(ctx: Context, cloud: Cloud, box: Record) -> None:
    """Gives a box the volume of an earlier one, which may still be letting go of it."""
    where = {"InstanceId": box["id"], "VolumeId": box["attach"], "Device": launch.DATA_DEVICE}

    def once() -> None:
        try:
            cloud.call(box["region"], "attach_volume", **where)
        except AwsError as error:
            if error.code != "VolumeInUse" or not _holds(cloud, box):
                raise

    _once_free(ctx, once)


def _once_free(ctx: Context, call: Callable[[], None]) -> None:
    """Repeats a call on a volume while another box may still be letting go of it."""
    for pause in (*_PAUSES, *_PAUSES, None):
        try:
            call()
            return
        except AwsError as error:
            if error.code not in ("VolumeInUse", "IncorrectState") or pause is None:
                raise
        ctx.sleep(pause)


def _holds(cloud: Cloud, box: Record) -> bool:
    found = cloud.call(box["region"], "describe_volumes", VolumeIds=[box["attach"]])["Volumes"]
    return any(one["InstanceId"] == box["id"] for volume in found for one in volume["Attachments"])


def volume_state(cloud: Cloud, region: str, volume: str) -> str | None:
    """`available`, `in-use`, …; None for one that is gone."""
    try:
        found = cloud.call(region, "describe_volumes", VolumeIds=[volume])["Volumes"]
    except AwsError as error:
        if error.code == "InvalidVolume.NotFound":
            return None
        raise
    return str(found[0]["State"]) if found else None


def delete_volume(ctx: Context, cloud: Cloud, region: str, volume: str) -> None:
    """For good."""

    def once() -> None:
        try:
            cloud.call(region, "delete_volume", VolumeId=volume)
        except AwsError as error:
            if error.code != "InvalidVolume.NotFound":
                raise

    _once_free(ctx, once)


def drop_volume(ctx: Context, store: Store, cloud: Cloud, box: Record) -> Record:
    """A box without its data volume, which is deleted; the box has ended."""
    delete_volume(ctx, cloud, box["region"], box["volume"])
    store.write_box(box := {**box, "volume": None})
    return box


def tag_deadline(cloud: Cloud, box: Record, deadline: float) -> None:
    """So that whoever looks by tag sees until when it is meant to run."""
    tags = launch.as_tags({f"{launch.TAG}expires-at": str(int(deadline))})
    cloud.call(box["region"], "create_tags", Resources=[box["id"]], Tags=tags)


def ours(cloud: Cloud, region: str) -> Iterator[dict[str, Any]]:
    """Every instance of a region that carries our tag and has not ended."""
    filters = [
        {"Name": f"tag:{launch.MANAGED}", "Values": ["1"]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    for reservation in cloud.all(region, "describe_instances", "Reservations", Filters=filters):
        yield from reservation["Instances"]


def volumes(cloud: Cloud, region: str) -> Iterator[dict[str, Any]]:
    """Every volume with our tag that no instance holds."""
    filters = [
        {"Name": f"tag:{launch.MANAGED}", "Values": ["1"]},
        {"Name": "status", "Values": ["available"]},
    ]
    yield from cloud.all(region, "describe_volumes", "Volumes", Filters=filters)


def adopt(ctx: Context, store: Store, cloud: Cloud, box_id: str, regions: list[str]) -> Record:
    """A box that this machine has no record of: made here, from what EC2 and its tags say. NotFound."""
    for region in regions:
        found = describe(ctx, cloud, region, box_id, new=False)
        if found:
            store.write_box(box := _from_tags(ctx, cloud, region, found))
            return box
    raise NotFound(f"there is no instance {box_id}", f"looked in {', '.join(regions)}", "gpujob hosts list")


def _from_tags(ctx: Context, cloud: Cloud, region: str, found: dict[str, Any]) -> Record:
    tags = launch.read_tags(found.get("Tags", []))
    kind, zone = found["InstanceType"], found["Placement"]["AvailabilityZone"]
    spot = found.get("InstanceLifecycle") == "spot"
    launched = found["LaunchTime"].timestamp()
    box = {
        "id": found["InstanceId"],
        "region": region,
        "zone": zone,
        "type": kind,
        "spot": spot,
        "address": found.get("PublicIpAddress"),
        "user": "ubuntu",
        "job": tags.get(f"{launch.TAG}job", ""),
        "run": None,
        "attempt": tags.get(launch.ATTEMPT),
        "account": found["OwnerId"],
        "group": group_of(found),
        "managed": tags.get(launch.MANAGED) == "1",
        "usd_hour": prices.now(ctx, cloud, region, zone, kind, spot),
        "disk_gb": 0,
        "volume": _data_volume(found),
        "launched": launched,
        "booted": launched,
        "deadline": float(tags.get(f"{launch.TAG}expires-at") or launched),
        "host_public": None,
        "rotated": True,
        "ready": True,
        **ledger.begun(found["State"]["Name"], launched),
    }
    return ledger.observed(box, found["State"]["Name"], ctx.now())
