"""`gpujob hosts up | extend | down | orphans`, and the boxes of `hosts list`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator import registry
from orchestrator.commands import boxes, config, launches, receive
from orchestrator.commands.boxes import Ingress
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.settings import Setting
from orchestrator.core.spec import Ec2, JobSpec, Limits, Resources, need_positive
from orchestrator.errors import AccessError, GpujobError, NotFound, UsageError
from orchestrator.instances import boxes as ec2
from orchestrator.instances import launch, ledger, prices, quote
from orchestrator.instances.cloud import Cloud
from orchestrator.store import Record, Store
from orchestrator.targets.base import Target
from orchestrator.view import fleet as view


def up(
    ctx: Context, name: str, wanted: Ec2, gpus: int, limits: Limits, ingress: Ingress, dry_run: bool
) -> int:
    """A box by itself, for several runs: only `down` and its own switches end it."""
    need_positive("--max-hours", limits.max_hours)
    need_positive("--budget", limits.budget_usd)
    settings, store = config.load(ctx), Store(ctx.state_dir)
    job = JobSpec(name=name, resources=Resources(gpus=gpus, ec2=wanted), limits=limits)
    given = quote.quote(job, prices.table(), settings["region"].value, ctx.now(), ctx.who, 0)
    if dry_run:
        view.print_quote(ctx, quote.lines(given, ingress.shown))
        return 0
    label = launches.ensure(ctx, store, given, ingress)
    box = boxes.of(store, label)
    assert box
    store.write_box({**box, "for_run": False})
    view.print_up(ctx, label, box)
    return 0


def extend(ctx: Context, word: str, hours: float) -> int:
    """Moves the deadline, on the box first: that is what ends it."""
    need_positive("--hours", hours)
    settings, store = config.load(ctx), Store(ctx.state_dir)
    with registry.target(ctx, settings, word).connect() as host:
        box = box_named(store, host.label)
        deadline = max(box["deadline"], ctx.now()) + hours * 3600
        each = ledger.price(prices.table(), box).running
        ctx.confirm(f"{host.label} runs {hours:g} h longer: at most ${each * hours:.2f} more.")
        host.ask("extend", until=deadline)
    ec2.tag_deadline(Cloud(ctx), box, deadline)
    store.write_box(box := {**box, "deadline": deadline})
    view.print_boxes(ctx, [box], prices.table(), ctx.now())
    return 0


def down(ctx: Context, word: str, discard: bool, purge: bool) -> int:
    """Terminates a box, after all that its runs left was fetched and verified; `discard` leaves it there.

    A box that is stopped is brought up for that, at a price agreed to.
    """
    settings, store = config.load(ctx), Store(ctx.state_dir)
    found = registry.target(ctx, settings, word)
    box = box_named(store, found.label)
    if not box.get("managed", True):
        why = "it carries no tag of gpujob's: whoever launched it ends it"
        raise UsageError(f"{found.label} was not launched by gpujob", why)
    if box["state"] not in ledger.ENDED:
        box = ec2.refresh(ctx, store, Cloud(ctx), box)
    if box["state"] in ledger.ENDED:
        ctx.talk(f"{found.label} had ended")
        ec2.clear(ctx, store, Cloud(ctx), box)
    elif discard:
        ctx.confirm(f"terminating {found.label}: {_lost(store, found.label)}")
    else:
        if box["state"] == "stopped":
            ctx.talk(f"{found.label} is stopped; what its runs left is fetched first (not with --discard)")
        _empty(ctx, store, settings, found)
        ctx.confirm(f"terminating {found.label} ({box['type']}); its disk goes with it.")
    if box["state"] not in ledger.ENDED:
        box = ec2.terminate(ctx, store, Cloud(ctx), box)
    if box.get("volume") and (purge or not box["spot"]):
        if purge:
            ctx.confirm(f"deleting volume {box['volume']}: the run folders of {found.label}.")
        box = ec2.drop_volume(ctx, store, Cloud(ctx), box)
    view.print_boxes(ctx, [box], prices.table(), ctx.now())
    return 0


def _empty(ctx: Context, store: Store, settings: dict[str, Setting], target: Target) -> None:
    """Everything that the runs of a box left comes home first. A run that is going is not cut off."""
    with launches.woken(ctx, store, target) as host, boxes.awake(host):
        for seen in host.ask("look", lines=0)["runs"]:
            state = runstate.fold(seen, ctx.now())
            if isinstance(state, runstate.GOING):
                raise GpujobError(
                    f"{seen['id']} is {runstate.word(state)} on {host.label}", "", f"gpujob stop {seen['id']}"
                )
            folder = ctx.path(settings["fetch_dir"].value) / seen["id"]
            home = receive.bring(ctx, host, seen["id"], "all", folder)
            ctx.talk(f"{seen['id']} is in {ctx.short(folder)}, every sha256 verified")
            if not home.whole(seen, ctx.now()):
                next_step = f"gpujob ssh {seen['id']} looks there; gpujob hosts down {host.label} --discard"
                raise GpujobError(f"{host.label} is kept", f"not all of {seen['id']} came home", next_step)


def _lost(store: Store, label: str) -> str:
    """What goes with a box that is not asked for it, as far as is known here."""
    kept = [run_id for run_id, record in store.runs().items() if record["target"] == label]
    return f"what was not fetched of {', '.join(kept)} is lost." if kept else "no run is known on it."


def orphans(ctx: Context, regions: list[str], end: bool) -> int:
    """Every box and volume with our tag that this machine does not know, or is past its deadline.

    With `end` they are terminated and deleted, after a question that lists them; not those of other people,
    nor of this user's other machines before their deadline, which know them. 1 while some are left.
    """
    store, cloud = Store(ctx.state_dir), Cloud(ctx)
    boxes.settle(ctx, store)
    found = [row for region in regions or cloud.regions() for row in _in_region(ctx, store, cloud, region)]
    view.print_orphans(ctx, found)
    if not found or not end:
        return 1 if found else 0
    ours = [row for row in found if _may_end(ctx, row)]
    if ours:
        ctx.confirm(f"ending {len(ours)}: what is on their disks is lost.")
    for row in ours:
        if row["kind"] == "volume":
            ec2.delete_volume(ctx, cloud, row["region"], row["id"])
        else:
            box = store.box(row["id"]) or ec2.adopt(ctx, store, cloud, row["id"], [row["region"]])
            ec2.terminate(ctx, store, cloud, box)
        ctx.talk(f"{row['id']} is gone")
    if len(ours) < len(found):
        ctx.talk(
            f"{len(found) - len(ours)} launched elsewhere: gpujob hosts down {launch.PREFIX}i-… --discard"
        )
    return 1 if len(ours) < len(found) else 0


def _may_end(ctx: Context, row: dict[str, Any]) -> bool:
    same_name = row["user"].partition("@")[0] == ctx.who.partition("@")[0]
    return row["user"] in ("", ctx.who) or (same_name and row["late"])


def _in_region(ctx: Context, store: Store, cloud: Cloud, region: str) -> Iterable[dict[str, Any]]:
    for one in ec2.ours(cloud, region):
        tags = launch.read_tags(one.get("Tags", []))
        runs = one["State"]["Name"] in ledger.RUNNING  # one that has stopped is in `hosts list`
        unknown, late = store.box(one["InstanceId"]) is None, runs and _expires(tags) < ctx.now()
        if unknown or late:
            why = "not on record here" if unknown else "past its deadline"
            yield {**_row("box", one["InstanceId"], region, one["State"]["Name"], tags, why), "late": late}
    held = {box["volume"] for box in store.boxes() if box.get("volume")}
    for volume in ec2.volumes(cloud, region):
        if volume["VolumeId"] not in held:
            tags = launch.read_tags(volume.get("Tags", []))
            late = _expires(tags) < ctx.now()
            row = _row("volume", volume["VolumeId"], region, f"{volume['Size']} GB", tags, "no box holds it")
            yield {**row, "late": late}


def _expires(tags: dict[str, str]) -> float:
    return float(tags.get(f"{launch.TAG}expires-at") or 0)


def _row(kind: str, key: str, region: str, state: str, tags: dict[str, str], why: str) -> dict[str, Any]:
    user, job = tags.get(f"{launch.TAG}user", ""), tags.get(f"{launch.TAG}job", "")
    return {"kind": kind, "id": key, "region": region, "state": state, "user": user, "job": job, "why": why}


def known(ctx: Context, store: Store, ask: bool) -> tuple[list[Record], list[AccessError]]:
    """Boxes on record here that have not ended; with `ask` as EC2 has them now.

    One that these credentials cannot see is given as it was last seen, with the error.
    """
    boxes.settle(ctx, store)
    found, unseen = ledger.living(store.boxes()), []
    cloud = Cloud(ctx) if ask and found else None
    for place, box in enumerate(found):
        try:
            found[place] = ec2.refresh(ctx, store, cloud, box) if cloud else box
        except AccessError as error:
            unseen.append(error)
    return found, unseen


def box_named(store: Store, label: str) -> Record:
    """A box that can be extended and ended; NotFound for any other host."""
    box = boxes.of(store, label)
    if box is None:
        why = "only boxes of EC2 are launched, extended and ended"
        raise NotFound(f"{label} is no box of EC2", why, f"--on {launch.PREFIX}i-…")
    return box


def cost(ctx: Context) -> int:
    """What the boxes that this machine knows of cost, by month and by run, with what was wasted apart."""
    store = Store(ctx.state_dir)
    rows = [_costs(ctx, store, box) for box in store.boxes()]
    if ctx.json:
        ctx.answer({"boxes": rows, "months": view.months(rows)})
    else:
        view.print_costs(ctx, rows, prices.table().as_of)
    return 0


def _costs(ctx: Context, store: Store, box: Record) -> dict[str, Any]:
    """`wasted`: hours that no run used, and those of runs that failed."""
    table, now = prices.table(), ctx.now()
    label = launch.label(box["id"])
    runs = {run_id: one["seen"] for run_id, one in store.runs().items() if one["target"] == label}
    each = {run_id: ledger.run_cost(table, box, seen, now) for run_id, seen in runs.items()}
    failed = [one for one, seen in runs.items() if isinstance(runstate.fold(seen, now), runstate.Failed)]
    whole = ledger.cost(table, box, now)
    useful = sum(usd for run_id, usd in each.items() if run_id not in failed)
    return {
        "box": label,
        "type": box["type"],
        "job": box["job"],
        "spot": box["spot"],
        "launched": box["launched"],
        "state": box["state"],
        "usd": round(whole, 4),
        "usd_hour_known": box["usd_hour"] is not None,
        "wasted_usd": round(max(0.0, whole - useful), 4),
        "runs": {run_id: round(usd, 4) for run_id, usd in each.items()},
    }
