from typing import Any

import pytest

from orchestrator.instances import ledger, prices, pricing

TABLE = prices.table()
HOUR = 3600.0


def box(state: str = "running", now: float = 0.0, **more: Any) -> ledger.Box:
    given = {"usd_hour": 1.006, "disk_gb": 100, "deadline": 10 * HOUR}
    return {**given, **ledger.begun(state, now), **more}


def test_the_hours_seen_in_each_state_are_added_up() -> None:
    seen = ledger.observed(box(), "running", 1 * HOUR)
    seen = ledger.observed(seen, "stopped", 2 * HOUR, "User initiated (1970-01-01 01:30:00 GMT)")
    assert (seen["ran"], seen["rested"]) == (1.5 * HOUR, 0.5 * HOUR)
    seen = ledger.observed(seen, "stopped", 3 * HOUR)
    assert (seen["ran"], seen["rested"], seen["state"]) == (1.5 * HOUR, 1.5 * HOUR, "stopped")


def test_a_box_that_was_started_again_rested_until_then() -> None:
    seen = ledger.observed(box("stopped"), "running", 2 * HOUR, "")
    assert (seen["ran"], seen["rested"]) == (0.0, 2 * HOUR)


def test_a_box_that_stopped_unseen_ran_to_its_deadline_at_most() -> None:
    seen = ledger.observed(box(), "stopped", 24 * HOUR, "Client.InstanceInitiatedShutdown")
    assert (seen["ran"], seen["rested"]) == (10 * HOUR, 14 * HOUR)
    assert ledger.observed(box(), "stopped", 2 * HOUR)["ran"] == 2 * HOUR


def test_an_ended_box_keeps_the_time_of_its_end_and_costs_no_more() -> None:
    ended = ledger.observed(box(), "terminated", 3 * HOUR, "User initiated (1970-01-01 02:00:00 GMT)")
    assert (ended["ran"], ended["ended"]) == (2 * HOUR, 2 * HOUR)
    later = ledger.observed(ended, "terminated", 9 * HOUR)
    assert (later["ran"], later["ended"]) == (2 * HOUR, 2 * HOUR)
    assert ledger.cost(TABLE, later, 99 * HOUR) == ledger.cost(TABLE, ended, 3 * HOUR)


@pytest.mark.parametrize(
    ("reason", "at"),
    [
        ("User initiated (1970-01-01 01:00:00 GMT)", HOUR),
        ("User initiated (2026-11-21 09:00:00 GMT)", 2 * HOUR),
        ("", None),
        ("Client.InstanceInitiatedShutdown", None),
    ],
)
def test_the_time_of_a_change_is_read_from_ec2s_reason_and_kept_between_the_two_looks(
    reason: str, at: float | None
) -> None:
    assert ledger.changed(reason, 0.0, 2 * HOUR) == at


def test_what_a_box_costs_goes_on_between_looks_and_the_worst_case_ends_at_its_deadline() -> None:
    price = pricing.hourly(TABLE, 1.006, 100)
    seen = box()
    assert ledger.cost(TABLE, seen, 2 * HOUR) == pytest.approx(2 * price.running)
    assert ledger.worst(TABLE, seen, 2 * HOUR) == pytest.approx(10 * price.running)
    stopped = ledger.observed(seen, "stopped", 2 * HOUR)
    assert ledger.cost(TABLE, stopped, 4 * HOUR) == pytest.approx(2 * price.running + 2 * price.disk)
    assert ledger.worst(TABLE, stopped, 4 * HOUR) == ledger.cost(TABLE, stopped, 4 * HOUR)


def test_a_machine_of_unknown_price_still_costs_its_disk_and_address() -> None:
    assert ledger.price(TABLE, box(usd_hour=None)) == pricing.hourly(TABLE, 0.0, 100)


def test_a_box_that_was_not_looked_at_since_its_deadline_has_run_no_longer() -> None:
    """Its own switch stopped it: only its disk costs since."""
    price = pricing.hourly(TABLE, 1.006, 100)
    week = 10 * HOUR + 7 * 24 * HOUR
    assert ledger.cost(TABLE, box(), week) == pytest.approx(10 * price.running + 7 * 24 * price.disk)
    late = box(now=12 * HOUR)  # seen running past its deadline, so its switch has not ended it
    assert ledger.cost(TABLE, late, 13 * HOUR) == pytest.approx(1 * price.running)
    foreign = box(managed=False, deadline=0.0)
    assert ledger.cost(TABLE, foreign, 2 * HOUR) == pytest.approx(2 * price.running)


@pytest.mark.parametrize(
    ("state", "supervised", "hours"),
    [
        ({"ended": 9 * HOUR, "heartbeat": 9 * HOUR}, False, 2),
        ({"ended": None, "heartbeat": 9 * HOUR}, True, 2.5),
        ({"ended": None, "heartbeat": 9 * HOUR}, False, 2),
    ],
    ids=["ended", "going", "lost"],
)
def test_a_run_costs_the_hours_it_was_at_work_and_not_those_between_its_attempts(
    state: dict[str, Any], supervised: bool, hours: float
) -> None:
    """It first started at 0, was resumed, and has used two hours by its last heartbeat."""
    whole = {"first_started": 0.0, "started": 8 * HOUR, "used_seconds": 2 * HOUR, **state}
    seen = {"state": whole, "supervised": supervised}
    price = pricing.hourly(TABLE, 1.006, 100)
    assert ledger.run_cost(TABLE, box(), seen, 9.5 * HOUR) == pytest.approx(hours * price.running)


def test_a_going_run_costs_no_more_after_its_box_must_have_ended() -> None:
    seen = {"state": {"ended": None, "heartbeat": 9 * HOUR, "used_seconds": HOUR}, "supervised": True}
    price = pricing.hourly(TABLE, 1.006, 100)
    assert ledger.run_cost(TABLE, box(), seen, 999 * HOUR) == pytest.approx(2 * price.running)
    stopped = ledger.observed(box(), "stopped", 9 * HOUR)
    assert ledger.run_cost(TABLE, stopped, seen, 999 * HOUR) == pytest.approx(1 * price.running)
