"""What the instances of one run cost: in `status`, `monitor` and `cost`, summed over all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.commands import monitor, overview, rows, status
from orchestrator.commands.status import Query
from orchestrator.core import runfacts
from orchestrator.core.runfacts import RunFacts
from orchestrator.instances import prices
from orchestrator.instances.instance import Instance
from orchestrator.instances.records import InstanceStore
from orchestrator.store import CachedRun
from orchestrator.view.status import HostReport
from tests.support import Client, ScriptedHost, new_client

HOUR = 3600.0
RUN = "job-20261121T101112-1a2b"
PRICE = prices.hourly(1.0, 100, "us-east-1").running  # with disk and address


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def instance(name: str, **more: Any) -> Instance:
    defaults = {"usd_per_hour": 1.0, "disk_gb": 100, "deadline": 10 * HOUR, "group": "g", "run": RUN}
    return Instance(id=name, region="us-east-1", launched=0.0, checked=0.0, **{**defaults, **more})


def ended(name: str, hours: float) -> Instance:
    reason = f"User initiated (1970-01-01 0{hours:.0f}:00:00 GMT)"
    return instance(name).observe("terminated", hours * HOUR, reason)


def saved(client: Client, *instances: Instance) -> InstanceStore:
    records = InstanceStore(client.context().state_dir)
    for one in instances:
        records.save(one)
    return records


def run(*hosts: str) -> RunFacts:
    """A run that has used two hours by now, the fourth hour."""
    state = {"first_started": 0.0, "started": 2 * HOUR, "used_seconds": 2 * HOUR, "heartbeat": 4 * HOUR}
    record = {"job": "job", "group": {"rank": 0, "hosts": list(hosts)}}
    facts = runfacts.parse_run({"id": RUN, "run": record, "state": state, "supervised": True})
    assert facts
    return facts


def shown(client: Client) -> str:
    ctx = client.context(now=lambda: 4 * HOUR)
    host = ScriptedHost({})
    host.label = "ec2://i-1"
    return monitor._Reader(ctx, host, run()).money


def test_monitor_shows_what_all_instances_cost_and_cost_at_most(client: Client) -> None:
    saved(client, instance("i-1"), instance("i-2"), instance("i-3", group="other"))
    hourly, spent, most = 2 * PRICE, 8 * PRICE, 20 * PRICE
    expected = (
        f"${spent:.2f} so far, ${hourly:.3f}/h for 2 instances, ends in 6 h 00 min (at most ${most:.2f})"
    )
    assert shown(client) == expected


def test_monitor_counts_the_instance_that_another_has_replaced(client: Client) -> None:
    saved(client, instance("i-1"), instance("i-2"), ended("i-0", 3))
    gone = prices.cost(ended("i-0", 3), 4 * HOUR)
    assert gone > 0
    assert shown(client).startswith(f"${8 * PRICE + gone:.2f} so far, ${2 * PRICE:.3f}/h for 2 instances")
    assert shown(client).endswith(f"(at most ${20 * PRICE + gone:.2f})")


def test_an_end_that_no_calendar_has_is_an_end_all_the_same() -> None:
    """Such a time of a damaged record is null in JSON, as that of an instance that runs."""
    row = rows.instance(instance("i-1", ended=1e20), 4 * HOUR)
    assert row.content.ended is None
    assert row.has_ended
    assert "/h" not in row.money


def test_monitor_shows_the_last_deadline_and_the_disks_of_what_stopped(client: Client) -> None:
    stopped = instance("i-2").observe("stopped", 4 * HOUR, "User initiated (1970-01-01 04:00:00 GMT)")
    saved(client, instance("i-1", deadline=12 * HOUR), stopped)
    assert f"${PRICE:.3f}/h for 1 instance, ends in 8 h" in shown(client)
    saved(client, replace(stopped, id="i-1"))
    assert shown(client).endswith(f"disks ${2 * prices.disk_per_month(100, 'us-east-1'):.2f} a month")


def test_all_live_runs_show_the_price_of_all_instances(client: Client) -> None:
    records = saved(client, instance("i-1"), instance("i-2"), ended("i-0", 3))
    ctx = client.context(now=lambda: 4 * HOUR)
    watched = overview._Watched(ctx, {}, "ec2://i-1", 1.0, threading.Event())
    watched.runs = (run("ec2://i-1", "ec2://i-2"),)
    (live,) = overview._live(ctx, records, [watched])
    assert live.usd_per_hour == pytest.approx(2 * PRICE)


def test_status_shows_the_cost_of_a_run_on_all_its_instances(client: Client) -> None:
    records = saved(client, instance("i-1"), instance("i-2"), ended("i-0", 1))
    ctx = client.context(now=lambda: 4 * HOUR)
    host = HostReport("ec2://i-1", (run("ec2://i-1", "ec2://i-2"),))
    report = status._report(ctx, records, host, Query())
    used = prices.run_cost(instance("i-1"), run(), 4 * HOUR)
    gone = prices.cost(ended("i-0", 1), 4 * HOUR)
    assert report.reports[0].cost_usd == pytest.approx(2 * used + gone, abs=1e-3)


def test_cost_has_a_line_for_each_instance_and_the_run_on_each(client: Client) -> None:
    cached = {RUN: CachedRun("ec2://i-1,ec2://i-2", 4 * HOUR, run("ec2://i-1", "ec2://i-2"))}
    one, two, old, other = (
        rows.cost(each, cached, 4 * HOUR)
        for each in (instance("i-1"), instance("i-2"), ended("i-0", 1), instance("i-9", run=None, group=""))
    )
    assert (
        one.runs
        == two.runs
        == {RUN: pytest.approx(prices.run_cost(instance("i-1"), run(), 4 * HOUR), abs=1e-4)}
    )
    assert (old.runs, old.wasted_usd) == ({RUN: old.cost_usd}, 0.0)
    assert other.runs == {}
    assert other.wasted_usd == other.cost_usd
