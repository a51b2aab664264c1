"""Boxes of EC2 as a person sees them: price, deadline, what was spent, what nobody holds."""

from __future__ import annotations

import time
from typing import Any

from orchestrator.context import Context
from orchestrator.instances import ledger, pricing
from orchestrator.instances.pricing import Table
from orchestrator.view.console import columns, duration

Row = dict[str, Any]


def print_quote(ctx: Context, lines: list[str]) -> None:
    if ctx.json:
        ctx.answer({"launch": lines})
        return
    ctx.out("it would launch (nothing is done):")
    for line in lines:
        ctx.out(f"  {line}")


def print_up(ctx: Context, label: str, box: Row) -> None:
    if ctx.json:
        ctx.answer({"box": label, "address": box["address"]})
        return
    ctx.out(label)
    ctx.talk(f"{box['type']} in {box['zone']} is ready; next:\n  gpujob deploy JOB --on {label}")
    ctx.talk(f"  gpujob hosts down {label}; a box without a run ends by itself after 20 minutes")


def telling(box: Row, prices: Table, now: float) -> Row:
    """What JSON says of a box."""
    keys = (
        "id",
        "type",
        "region",
        "zone",
        "spot",
        "state",
        "address",
        "job",
        "run",
        "launched",
        "ended",
        "deadline",
        "volume",
    )
    return {
        **{key: box.get(key) for key in keys},
        "money": money(box, prices, now),
        "usd_hour": round(ledger.price(prices, box).running, 4),
        "spent_usd": round(ledger.cost(prices, box, now), 4),
        "worst_usd": round(ledger.worst(prices, box, now), 4),
    }


def print_boxes(ctx: Context, boxes: list[Row], prices: Table, now: float) -> None:
    if ctx.json:
        ctx.answer({"boxes": [telling(box, prices, now) for box in boxes]})
        return
    for line in columns([_row(box, prices, now) for box in boxes]):
        ctx.out(line)


def _row(box: Row, prices: Table, now: float) -> list[str]:
    return [f"ec2://{box['id']}", box["type"], box["zone"], box["state"], money(box, prices, now), box["job"]]


def money(box: Row, prices: Table, now: float) -> str:
    """Spent, and what goes on: by the hour while it runs, by the month while its disk rests."""
    spent = f"${ledger.cost(prices, box, now):.2f} so far"
    if box["state"] in ledger.ENDED:
        return f"${ledger.cost(prices, box, now):.2f}"
    if box["state"] in ledger.RESTING:
        return f"{spent}, disk ${pricing.disk_month(prices, box['disk_gb']):.2f} a month"
    left = box["deadline"] - now
    ends = f"ends in {duration(left)}" if left > 0 else "past its deadline"
    each, most = ledger.price(prices, box).running, ledger.worst(prices, box, now)
    return f"{spent}, ${each:.3f}/h, {ends} (at most ${most:.2f})"


def print_orphans(ctx: Context, rows: list[Row]) -> None:
    if ctx.json:
        ctx.answer({"orphans": rows})
        return
    keys = ("kind", "id", "region", "state", "job", "user", "why")
    for line in columns([[str(row[key]) for key in keys] for row in rows]):
        ctx.out(line)
    ctx.talk("gpujob hosts orphans --end ends them" if rows else "nothing of gpujob is left without a home")


def months(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Dollars of the boxes launched in each month."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        month = found.setdefault(
            time.strftime("%Y-%m", time.gmtime(row["launched"])), {"usd": 0.0, "wasted_usd": 0.0}
        )
        month["usd"] = round(month["usd"] + row["usd"], 4)
        month["wasted_usd"] = round(month["wasted_usd"] + row["wasted_usd"], 4)
    return found


def print_costs(ctx: Context, rows: list[Row], as_of: str) -> None:
    if not rows:
        ctx.out("no box was launched from here")
        return
    table = [["launched", "box", "type", "state", "cost", "wasted", "runs"]]
    for row in rows:
        day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(row["launched"]))
        runs = ", ".join(f"{run} ${usd:.2f}" for run, usd in row["runs"].items()) or "no run"
        market = f"{row['type']} spot" if row["spot"] else row["type"]
        wasted = f"${row['wasted_usd']:.2f}"
        table.append([day, row["box"], market, row["state"], f"${row['usd']:.2f}", wasted, runs])
    for line in columns(table):
        ctx.out(line)
    for month, sums in months(rows).items():
        ctx.out(f"{month}  ${sums['usd']:.2f}, of which ${sums['wasted_usd']:.2f} idle or failed")
    ctx.talk(f"estimates by the prices of {as_of} (us-east-1); the bill is AWS's")
