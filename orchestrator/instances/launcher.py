"""One attempt to get one box: its intent is on the disk before EC2 is asked, its token in every request.

Whatever is cut, by a crash here or a lost answer, `settle` finds by tag what was made; `carry_on` sends
the very request again, which EC2 answers with the same box. So an attempt never makes two, and none is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from orchestrator import __version__
from orchestrator.context import Context
from orchestrator.errors import GpujobError
from orchestrator.instances import awserrors, boxes, images, launch, ledger, network, prices
from orchestrator.instances.awserrors import Action, AwsError
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.launch import Candidate, Network, Want
from orchestrator.store import Record, Store

STALE = 600.0  # seconds after which a request that is not seen by tag was never carried out
GONE = ("shutting-down", "terminated")
Say = Callable[[str], None]


def begin(
    ctx: Context, store: Store, want: Want, user_data: str, host_public: str, cidr: str | None
) -> Record:
    """A new attempt, written. `tried`: places with EC2's answers; `current`: the request under way.

    `cidr`: who is let in, as typed; None for this machine's address, whatever it is by then.
    """
    attempt = {
        "id": ctx.token()[:16],
        "created": ctx.now(),
        "want": vars(want),
        "user_data": user_data,
        "host_public": host_public,
        "cidr": cidr,
        "tried": [],
        "current": None,
    }
    store.write_attempt(attempt)
    return attempt


def again(ctx: Context, store: Store, attempt: Record, box: Record) -> Record:
    """A new attempt for the places that are left, after `box` was taken back by EC2."""
    at = {"region": box["region"], "zone": box["zone"], "type": box["type"], "spot": box["spot"]}
    tried = [*attempt["tried"], {"at": at, "code": "Server.InsufficientInstanceCapacity"}]
    new = {**attempt, "id": ctx.token()[:16], "created": ctx.now(), "tried": tried, "current": None}
    store.write_attempt(new)
    return new


def carry_on(ctx: Context, store: Store, cloud: Cloud, attempt: Record, say: Say) -> Record:
    """The attempt's box, on record. GpujobError where no place has one, or EC2 refuses."""
    want = _want(attempt)
    if attempt["current"]:
        at = Candidate(**attempt["current"]["at"])
        if box := _ask(ctx, store, cloud, attempt, at, attempt["current"]["request"], say):
            return box
    for region in want.regions:
        box = _in_region(ctx, store, cloud, attempt, want, region, say)
        if box:
            return box
    store.close_attempt(attempt["id"])
    raise _nowhere(want, _tried(attempt))


def _in_region(
    ctx: Context, store: Store, cloud: Cloud, attempt: Record, want: Want, region: str, say: Say
) -> Record | None:
    group = network.admit(ctx, cloud, region, network.ingress(ctx, attempt["cidr"], world=True))
    image = images.find(cloud, region, want.images)
    subnets = network.subnets(cloud, region)
    offered = {
        (region, kind): [zone for zone in zones if zone in subnets]
        for kind, zones in offerings(cloud, region, want.types).items()
    }
    for at in launch.candidates(want, region, offered):
        if at in [place for place, _ in _tried(attempt)] or _exhausted(attempt, at):
            continue
        place, before = Network(subnets[at.zone], group), None
        while attempt["id"] != before:  # here once more under another token, if the first one's box has ended
            before = attempt["id"]
            request = launch.request(want, at, image, place, attempt["user_data"], before, __version__)
            if box := _ask(ctx, store, cloud, attempt, at, request, say):
                return box
    return None


def _ask(
    ctx: Context, store: Store, cloud: Cloud, attempt: Record, at: Candidate, request: Record, say: Say
) -> Record | None:
    """RunInstances for one place: the box, or None where the next place is to be tried."""
    again = bool(attempt["current"])
    attempt["current"] = {"at": vars(at), "request": request, "asked": ctx.now()}
    store.write_attempt(attempt)
    try:
        answer = cloud.call(at.region, "run_instances", **request)
    except AwsError as error:
        _refused(ctx, store, attempt, at, error, say, again)
        return None
    box = _record(ctx, cloud, attempt, next(boxes.instances(answer)), at.region)
    store.write_box(box)
    store.close_attempt(attempt["id"])
    return box


def _refused(
    ctx: Context, store: Store, attempt: Record, at: Candidate, error: AwsError, say: Say, again: bool
) -> None:
    """Notes a place without capacity; raises all else. An outcome that is not known stays `current`:
    also of a request sent `again` and refused, since the first may have made a box.

    Where the box of this very token has ended meanwhile, the attempt gets another id, and so other tokens.
    """
    kind = awserrors.action(error.code, error.status)
    if kind is Action.REPEAT or error.code == "NoConnection":
        raise awserrors.explain(error) from None
    if kind not in (Action.NEXT_ZONE, Action.NEXT_FAMILY, Action.NEW_ATTEMPT):
        if not again:
            store.close_attempt(attempt["id"])
        raise awserrors.explain(error) from None
    say(f"{at}: {error.code}")
    before = attempt["id"]
    if kind is Action.NEW_ATTEMPT:
        attempt["id"] = ctx.token()[:16]
    else:
        attempt["tried"].append({"at": vars(at), "code": error.code})
    attempt["current"] = None
    store.write_attempt(attempt)
    if attempt["id"] != before:
        store.close_attempt(before)


def _tried(attempt: Record) -> list[tuple[Candidate, str]]:
    return [(Candidate(**one["at"]), one["code"]) for one in attempt["tried"]]


def _exhausted(attempt: Record, at: Candidate) -> bool:
    """A quota counts for a family of types in a whole region, not for one zone."""
    return any(
        awserrors.action(code) is Action.NEXT_FAMILY
        and (place.region, place.family, place.spot) == (at.region, at.family, at.spot)
        for place, code in _tried(attempt)
    )


def offerings(cloud: Cloud, region: str, types: Sequence[str]) -> dict[str, list[str]]:
    """Type → the zones of the region that offer it."""
    filters = [{"Name": "instance-type", "Values": list(types)}]
    found = cloud.all(
        region,
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=filters,
    )
    zones: dict[str, list[str]] = {}
    for one in found:
        zones.setdefault(one["InstanceType"], []).append(one["Location"])
    return zones


def _nowhere(want: Want, tried: list[tuple[Candidate, str]]) -> GpujobError:
    said = "; ".join(f"{place}: {code}" for place, code in tried)
    for at, code in tried:
        if awserrors.action(code) is Action.NEXT_FAMILY:
            quota, command = awserrors.quota(at)
            return GpujobError(
                f"the quota {quota} ({at.market} vCPUs of {at.family}) is used up", said, command
            )
    if not said:
        said = f"no zone of {', '.join(want.regions)} offers {', '.join(want.types)}"
    return GpujobError(
        f"no capacity for {', '.join(want.types)}", said, "other types or regions: --type, --region; or later"
    )


def _record(ctx: Context, cloud: Cloud, attempt: Record, found: dict[str, Any], region: str) -> Record:
    """The box as the ledger keeps it, from its launch on, also where that was cut and is found later.

    Prices are what is known now; they are estimates, not bills.
    """
    want = _want(attempt)
    launched = min(found["LaunchTime"].timestamp(), ctx.now())
    disks = attempt["current"]["request"]["BlockDeviceMappings"]
    spot = found.get("InstanceLifecycle") == "spot" or want.spot
    zone = found["Placement"]["AvailabilityZone"]
    return {
        "id": found["InstanceId"],
        "region": region,
        "zone": zone,
        "type": found["InstanceType"],
        "spot": spot,
        "address": found.get("PublicIpAddress"),
        "user": want.user,
        "job": want.job,
        "run": None,
        "attempt": attempt["id"],
        "account": found["OwnerId"],
        "group": attempt["current"]["request"]["NetworkInterfaces"][0]["Groups"][0],
        "cidr": attempt["cidr"],
        "usd_hour": prices.now(ctx, cloud, region, zone, found["InstanceType"], spot),
        "disk_gb": sum(disk["Ebs"]["VolumeSize"] for disk in disks),
        "volume": want.volume or None,
        "attach": want.volume or None,
        "launched": launched,
        "booted": launched,
        "deadline": want.deadline,
        "host_public": attempt["host_public"],
        "rotated": False,
        "ready": False,
        **ledger.begun(found["State"]["Name"], launched),
    }


def settle(ctx: Context, store: Store, cloud: Cloud, say: Say) -> list[Record]:
    """What launches that were cut have made. One that made nothing is forgotten after STALE seconds."""
    found = []
    for attempt in store.attempts():
        box = _made(ctx, store, cloud, attempt)
        if box:
            if store.box(box["id"]) is None:
                store.write_box(box)
            store.close_attempt(attempt["id"])
            found.append(box)
        elif attempt["current"] is None or ctx.now() - attempt["current"]["asked"] > STALE:
            store.close_attempt(attempt["id"])
        else:
            job = attempt["want"]["job"]
            say(f"a launch for {job} was cut; EC2 shows no box of it yet: asked again by the next command")
    return found


def _made(ctx: Context, store: Store, cloud: Cloud, attempt: Record) -> Record | None:
    """The attempt's box by its tag; None where there is none that lives."""
    current = attempt["current"]
    if not current:
        return None
    region = current["at"]["region"]
    filters = [{"Name": f"tag:{launch.ATTEMPT}", "Values": [attempt["id"]]}]
    for reservation in cloud.all(region, "describe_instances", "Reservations", Filters=filters):
        for one in boxes.instances(reservation):
            known = store.box(one["InstanceId"])
            if known:
                return known
            if one["State"]["Name"] not in GONE:
                return _record(ctx, cloud, attempt, one, region)
    return None


def _want(attempt: Record) -> Want:
    kept = attempt["want"]
    lists = {key: tuple(kept[key]) for key in ("types", "regions", "images")}
    return Want(**{**kept, **lists})
