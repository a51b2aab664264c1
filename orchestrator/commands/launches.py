"""A box for a job: launched at a price that was agreed to, started again, or made anew around its volume."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from orchestrator import share
from orchestrator.commands.boxes import Ingress, hold, of, settle
from orchestrator.context import Context
from orchestrator.core.spec import Ec2, JobSpec, Limits, Resources
from orchestrator.errors import GpujobError, NotFound
from orchestrator.instances import (
    arrival,
    boxes,
    keys,
    launch,
    launcher,
    ledger,
    network,
    prices,
    quote,
    userdata,
)
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.quote import Quote
from orchestrator.instances.target import Ec2Target, Gone
from orchestrator.store import Record, Store
from orchestrator.targets.base import Host, Target
from orchestrator.view.console import duration

AWAKE_HOURS = 1.0  # for a fetch from a box that had stopped


def ensure(ctx: Context, store: Store, given: Quote, ingress: Ingress) -> str:
    """The label of a box for this job that is ready to be used: one that stands, or a new one.

    A launch that was cut is carried on with the very request that was sent, so there is never a second box.
    """
    with store.lock(given.want.job, "ec2") as ours:
        if not ours:
            what = f"another command is launching a box for {given.want.job}"
            raise GpujobError(what, "", "wait for it, or use another name")
        return _ensured(ctx, store, given, ingress)


def _ensured(ctx: Context, store: Store, given: Quote, ingress: Ingress) -> str:
    if ingress.cidr:
        network.typed(ingress.cidr, ingress.world)  # or EC2 is not asked at all
    settle(ctx, store)
    cloud = Cloud(ctx)
    standing, begun = _standing(store, given.want.job), _begun(store, given.want.job)
    others: list[str] = []
    if not standing and not begun:
        standing, others = _by_tag(ctx, store, cloud, given.want)
    if standing:
        box = boxes.refresh(ctx, store, cloud, standing)
        if box["state"] == "stopping":
            ctx.talk(f"{launch.label(box['id'])} is up for this job and going off: waiting for that")
            box = boxes.until(ctx, store, cloud, box, "stopped")
        if box["state"] == "stopped":
            return _started(ctx, store, box, given.hours)
        if box["state"] in ("pending", "running"):
            left = duration(max(0.0, box["deadline"] - ctx.now()))
            what = f"{launch.label(box['id'])}, {box['type']} in {box['zone']}, is up for this job"
            ctx.talk(f"{what} and ends in {left} (gpujob hosts extend)")
            return _ready(ctx, store, cloud, box)
    if begun:
        ctx.talk("carrying on the launch that was cut")
        return _ready(ctx, store, cloud, launcher.carry_on(ctx, store, cloud, begun, ctx.talk))
    cidr = network.ingress(ctx, ingress.cidr, ingress.world)
    lines = [*quote.lines(given, cidr), *others]
    ctx.confirm("\n".join(["launching a box:", *(f"  {line}" for line in lines)]))
    return launched(ctx, store, cloud, given, ingress.cidr)


def _begun(store: Store, job: str) -> Record | None:
    """The launch for this job whose outcome is not on record."""
    return next((one for one in store.attempts() if one["want"]["job"] == job), None)


def _by_tag(ctx: Context, store: Store, cloud: Cloud, want: launch.Want) -> tuple[Record | None, list[str]]:
    """What EC2 shows of this job beside what is on record here, which may be lost at any time: this user's
    own box, taken on record again, else a line for each of somebody else's."""
    others = []
    for region in want.regions:
        for one in boxes.ours(cloud, region):
            tags = launch.read_tags(one["Tags"])
            user = tags.get(f"{launch.TAG}user", "")
            if tags.get(f"{launch.TAG}job") != want.job or store.box(one["InstanceId"]):
                continue
            if user == ctx.who:
                return boxes.adopt(ctx, store, cloud, one["InstanceId"], [region]), []
            others.append(
                f"beside {launch.label(one['InstanceId'])} of {user}, which is up for this name too"
            )
    return None, others


def _started(ctx: Context, store: Store, box: Record, hours: float) -> str:
    """A box that had stopped, with its disk and all that it holds."""
    label, each = launch.label(box["id"]), ledger.price(prices.table(), box).running
    ctx.confirm(
        f"{label} ({box['type']}) is stopped; starting it for {hours:.4g} h: at most ${each * hours:.2f}."
    )
    _start(ctx, store, box, hours)
    return label


def _start(ctx: Context, store: Store, box: Record, hours: float) -> float:
    """Its new deadline, which its user-data tells it. It is ready then."""
    deadline, cloud = ctx.now() + hours * 3600, Cloud(ctx)
    want = launch.Want((), (), box["spot"], 0, 0, deadline, box["user"], ctx.who, box["job"])
    box = boxes.start(ctx, store, cloud, box, user_data(ctx, want, keys.host_key()), deadline)
    arrival.arrive(ctx, store, cloud, box, ctx.talk)
    return deadline


def launched(ctx: Context, store: Store, cloud: Cloud, given: Quote, cidr: str | None) -> str:
    """A new box, ready. One that EC2 takes back for want of capacity is tried for in the other places."""
    want = replace(given.want, deadline=ctx.now() + given.hours * 3600)
    key = keys.host_key()
    attempt = launcher.begin(ctx, store, want, user_data(ctx, want, key), key.public, cidr)
    while True:
        box = launcher.carry_on(ctx, store, cloud, attempt, ctx.talk)
        try:
            return _ready(ctx, store, cloud, box)
        except boxes.Ended as ended:
            if not ended.capacity:
                raise
            ctx.talk(f"{box['type']} in {box['zone']}: {ended.why}")
            attempt = launcher.again(ctx, store, attempt, box)


def user_data(ctx: Context, want: launch.Want, key: keys.KeyPair) -> str:
    """What the box is told at its first boot, and at any later one."""
    template = (share.folder("templates") / "cloud-init.yaml").read_text("utf-8")
    new = userdata.ANY_VOLUME if want.data_gb else ""
    values = userdata.UserData(
        user=want.user,
        authorized_key=keys.public_key(ctx),
        host_private=key.private,
        host_public=key.public,
        deadline=int(want.deadline),
        boot_grace=launch.BOOT_SECONDS,
        spot=want.spot,
        data=userdata.volume(want.volume) if want.volume else new,
    )
    return userdata.render(template, values)


def _ready(ctx: Context, store: Store, cloud: Cloud, box: Record) -> str:
    if not box["ready"]:
        arrival.arrive(ctx, store, cloud, box, ctx.talk)
    return launch.label(box["id"])


def _standing(store: Store, job: str) -> Record | None:
    """The latest box of this job that has not ended, as far as is known here."""
    living = [box for box in ledger.living(store.boxes()) if box["job"] == job]
    return living[-1] if living else None


def revive(ctx: Context, store: Store, label: str, given: Quote, ingress: Ingress) -> str:
    """A new box for a run whose box has ended and left its volume: in the same zone, with that volume."""
    settle(ctx, store)
    old = of(store, label)
    assert old
    cloud = Cloud(ctx)
    volume: str = old.get("volume") or ""
    state = boxes.volume_state(cloud, old["region"], volume) if volume else None
    if state is None:
        why = f"its volume {volume} is gone" if volume else "it had no volume of its own"
        raise NotFound(f"what {label} held is gone with it", why, "gpujob deploy JOB --on ec2 begins anew")
    want = replace(
        given.want, regions=(old["region"],), zone=old["zone"], volume=volume, data_gb=0, disk_gb=0
    )
    given = replace(given, want=want)
    for attempt in store.attempts():
        if attempt["want"]["volume"] == volume:
            ctx.talk("carrying on the launch that was cut")
            return _moved(ctx, store, cloud, old, launcher.carry_on(ctx, store, cloud, attempt, ctx.talk))
    for box in ledger.living(store.boxes()):
        if box.get("attach") == volume:
            return _moved(ctx, store, cloud, old, boxes.refresh(ctx, store, cloud, box))
    cidr = network.ingress(ctx, ingress.cidr, ingress.world)
    lines = [f"launching a box for volume {volume}:", *(f"  {line}" for line in quote.lines(given, cidr))]
    ctx.confirm("\n".join(lines))
    label = launched(ctx, store, cloud, given, ingress.cidr)
    store.write_box({**old, "volume": None})
    return label


def _moved(ctx: Context, store: Store, cloud: Cloud, old: Record, box: Record) -> str:
    """The volume is the new box's from now on."""
    label = _ready(ctx, store, cloud, box)
    store.write_box({**old, "volume": None})
    return label


@contextlib.contextmanager
def woken(ctx: Context, store: Store, target: Target) -> Iterator[Host]:
    """The host. For an hour, at a price agreed to: a box that its own switch stopped is brought up, and
    one that has ended but left its volume is followed by another."""
    with contextlib.ExitStack() as stack:
        try:
            host = stack.enter_context(target.connect())
        except boxes.Stopped as stopped:
            deadline = _wake(ctx, store, target.label, stopped)
            host = stack.enter_context(target.connect())
            host.ask("extend", until=deadline)  # a full disk keeps a box from reading its new user-data
        except Gone as gone:
            if not gone.volume:
                raise
            box = of(store, target.label)
            assert box
            label = revive(ctx, store, target.label, _for_an_hour(ctx, box), Ingress())
            hold(store, label, box["run"])
            host = stack.enter_context(Ec2Target(ctx, label, []).connect())
        yield host


def _for_an_hour(ctx: Context, box: Record) -> Quote:
    """A box like this one, on demand: just to look at its volume."""
    job = JobSpec(
        box["job"], resources=Resources(0, Ec2(types=[box["type"]])), limits=Limits(max_hours=AWAKE_HOURS)
    )
    return quote.quote(job, prices.table(), box["region"], ctx.now(), ctx.who, 0)


def _wake(ctx: Context, store: Store, label: str, stopped: boxes.Stopped) -> float:
    """Its new deadline."""
    box = of(store, label)
    assert box
    each = ledger.price(prices.table(), box).running
    ctx.confirm(
        f"{stopped.what}; {stopped.why}. Bringing it up for an hour: at most ${each * AWAKE_HOURS:.2f}."
    )
    return _start(ctx, store, box, AWAKE_HOURS)
