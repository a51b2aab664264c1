"""EC2 instances as a user sees them: prices, deadlines, costs, orphans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from orchestrator.context import Context
from orchestrator.core.text import counted, duration, flow
from orchestrator.view import host_answers as answers
from orchestrator.view.console import print_table


class InstanceRow(msgspec.Struct, frozen=True):
    """An instance as --json has it. `remaining`: seconds to its deadline. `has_ended`: it runs no more."""

    content: answers.Instance
    remaining: float
    has_ended: bool

    @property
    def idle_usd_per_month(self) -> float:
        """What its disks, or the volume that it left, cost while it does not run."""
        return self.content.volume_usd_per_month if self.has_ended else self.content.disk_usd_per_month

    @property
    def money(self) -> str:
        """What it cost so far, and what it costs now: per hour, or per month while it is stopped."""
        one, cost = self.content, f"${self.content.cost_usd:.2f}"
        if self.has_ended:
            kept = f"volume {one.volume} ${one.volume_usd_per_month:.2f} a month"
            return f"{cost} so far, {kept}" if one.volume else cost
        if one.state == "stopped":
            return f"{cost} so far, disk ${one.disk_usd_per_month:.2f} a month"
        end = f"ends in {duration(self.remaining)}" if self.remaining > 0 else "past its deadline"
        return f"{cost} so far, ${one.usd_per_hour:.3f}/h, {end} (at most ${one.worst_case_usd:.2f})"


def money(rows: Sequence[InstanceRow]) -> str:
    """What the instances of one run cost so far, cost an hour, and cost at most; empty without any.

    Those that have ended count in what it cost so far.
    """
    if len(rows) < 2:
        return "".join(row.money for row in rows)
    cost = sum(row.content.cost_usd for row in rows)
    worst = sum(row.content.worst_case_usd for row in rows)
    running = [row for row in rows if row.content.state in ("pending", "running")]
    if not running:
        disks = sum(row.idle_usd_per_month for row in rows)
        return f"${cost:.2f} so far" + (f", disks ${disks:.2f} a month" if disks else "")
    usd, last = sum(row.content.usd_per_hour for row in running), max(row.remaining for row in running)
    end = f"ends in {duration(last)}" if last > 0 else "past its deadline"
    instances = counted(len(running), "instance")
    return f"${cost:.2f} so far, ${usd:.3f}/h for {instances}, {end} (at most ${worst:.2f})"


def print_types(ctx: Context, rows: list[answers.InstanceType], as_of: dict[str, str]) -> None:
    """as_of: region → the day of its prices."""
    if ctx.json:
        ctx.answer(answers.Types(types=tuple(rows), prices_as_of=as_of))
        return
    print_table(ctx, [_type_cells(row) for row in rows])
    days = ", ".join(f"{region} of {day}" for region, day in as_of.items())
    ctx.talk(f"prices: {days}; --refresh gets today's" if rows else "no type matches")


def _type_cells(row: answers.InstanceType) -> list[str]:
    gpus = f"{row.gpus} x {row.gpu}"
    sizes = [f"{row.gpu_mib / 1024:.0f} GiB each", f"{row.vcpus} vCPUs", f"{row.memory_gib:g} GiB"]
    spot = "" if row.spot_usd_per_hour is None else f"spot ${row.spot_usd_per_hour:.3f}/h"
    usd = "-" if row.usd_per_hour is None else f"${row.usd_per_hour:.3f}/h"
    return [row.name, row.region, gpus, *sizes, usd, spot]


class LaunchRow(msgspec.Struct, frozen=True):
    """The instances that a command would launch: `lines` for a person, `content` for --json."""

    lines: tuple[str, ...]
    content: answers.Launch


def print_quote(ctx: Context, row: LaunchRow) -> None:
    if ctx.json:
        ctx.answer(answers.LaunchPreview(launch=row.content))
        return
    ctx.out("would launch (nothing is done):")
    print_launch(ctx, row)


def print_launch(ctx: Context, row: LaunchRow) -> None:
    for line in row.lines:
        for part in flow(f"  {line}", ctx.columns(ctx.stdout)):
            ctx.out(part)


def print_up(ctx: Context, row: InstanceRow) -> None:
    if ctx.json:
        ctx.answer(answers.Up(instance=row.content))
        return
    one = row.content
    ctx.out(one.label)
    ctx.talk(f"{one.type} in {one.zone} is ready; next:\n  gpujob deploy JOB --on {one.label}")
    ctx.talk(f"  gpujob hosts down {one.label}; without a run it shuts itself down after 20 minutes")


def print_instances(ctx: Context, rows: list[InstanceRow]) -> None:
    if ctx.json:
        ctx.answer(answers.Instances(instances=tuple(row.content for row in rows)))
        return
    each = [(row.content, row.money) for row in rows]
    print_table(ctx, [[one.label, one.type, one.zone, one.state, money, one.job] for one, money in each])


def print_hosts(
    ctx: Context,
    host_keys: list[dict[str, str]],
    rows: list[InstanceRow],
    resources: list[answers.Resource],
) -> None:
    """`hosts list`. host_keys: name and fingerprint of each host on record."""
    if ctx.json:
        keys = tuple(answers.HostKey(**host_key) for host_key in host_keys)
        instances = tuple(row.content for row in rows)
        ctx.answer(answers.Hosts(hosts=keys, instances=instances, resources=tuple(resources)))
        return
    print_instances(ctx, rows)
    print_resources(ctx, resources)
    for host_key in host_keys:
        ctx.out(f"{host_key['name']}  {host_key['fingerprint']}")
    if not host_keys and not rows and not resources:
        ctx.talk("no host is on record; gpujob hosts attach NAME (adds one)")


def print_resources(ctx: Context, rows: list[answers.Resource]) -> None:
    """What costs money and is of no instance on record; nothing if there is none."""
    if not rows:
        return
    table = []
    for row in rows:
        sized = row.type or (f"{row.size_gb} GB" if row.size_gb else "")
        usd = _monthly(row.usd_per_month)
        table.append([row.kind, row.id, row.region, row.state, sized, row.job, row.user, row.why, usd])
    print_table(ctx, table)
    ctx.talk("gpujob hosts orphans (shows which of these nothing needs), and --end deletes those")


def print_orphans(ctx: Context, rows: list[answers.Orphan]) -> None:
    if ctx.json:
        ctx.answer(answers.Orphans(orphans=tuple(rows)))
        return
    print_table(
        ctx,
        [[r.kind, r.id, r.region, r.state, r.job, r.user, r.why, _monthly(r.usd_per_month)] for r in rows],
    )
    ctx.talk("next: gpujob hosts orphans --end (deletes them)" if rows else "gpujob left nothing behind")


def _monthly(usd: float | None) -> str:
    return "price not known" if usd is None else f"${usd:.2f} a month"


def months(rows: list[answers.InstanceCost], unrecorded: Mapping[str, float]) -> dict[str, answers.MonthCost]:
    """USD of the instances launched in each month, and of other resources (`unrecorded`: by month)."""
    sums: dict[str, answers.MonthCost] = {}
    costs = [(month_of(row.launched), row.cost_usd, row.wasted_usd) for row in rows]
    for name, usd, wasted in (*costs, *((name, usd, usd) for name, usd in unrecorded.items())):
        before = sums.get(name, answers.MonthCost(cost_usd=0.0, wasted_usd=0.0))
        sums[name] = answers.MonthCost(
            cost_usd=round(before.cost_usd + usd, 4), wasted_usd=round(before.wasted_usd + wasted, 4)
        )
    return sums


def month_of(time: str | None) -> str:
    """The month of a time of ISO 8601, as 2026-11."""
    return (time or "unknown")[:7]


def print_costs(
    ctx: Context,
    rows: list[answers.InstanceCost],
    resources: list[answers.Resource],
    unrecorded: Mapping[str, float],
) -> None:
    """`cost`. resources: what is of no instance in `rows`; unrecorded: USD by month of those of the user."""
    sums = months(rows, unrecorded)
    if ctx.json:
        ctx.answer(answers.Cost(instances=tuple(rows), resources=tuple(resources), months=sums))
        return
    if not rows and not resources:
        ctx.out("no instance was launched from here")
        return
    if rows:
        _print_cost_table(ctx, rows)
    print_resources(ctx, resources)
    for name, one in sums.items():
        ctx.out(f"{name}  ${one.cost_usd:.2f}, of which ${one.wasted_usd:.2f} idle or failed")
    ctx.talk("estimates by the prices at each launch; AWS's bill is what counts")


def _print_cost_table(ctx: Context, rows: list[answers.InstanceCost]) -> None:
    table = [["launched", "instance", "type", "state", "cost", "wasted", "runs"]]
    for row in rows:
        day = (row.launched or "unknown")[:16].replace("T", " ")
        runs = ", ".join(f"{run} ${usd:.2f}" for run, usd in row.runs.items()) or "no run"
        market = f"{row.type} spot" if row.spot else row.type
        table.append(
            [day, row.label, market, row.state, f"${row.cost_usd:.2f}", f"${row.wasted_usd:.2f}", runs]
        )
    print_table(ctx, table)
