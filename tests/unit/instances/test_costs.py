from typing import Any

import pytest

from orchestrator.core import runfacts
from orchestrator.core.runfacts import RunFacts
from orchestrator.instances import prices
from orchestrator.instances.instance import Instance, transition_time

HOUR = 3600.0


def run(state: dict[str, Any], supervised: bool) -> RunFacts:
    facts = runfacts.parse_run({"id": "job-20261121T101112-1a2b", "state": state, "supervised": supervised})
    assert facts
    return facts


def instance(state: str = "running", checked: float = 0.0, **fields: Any) -> Instance:
    defaults = {"usd_per_hour": 1.006, "disk_gb": 100, "deadline": 10 * HOUR}
    return Instance(
        id="i-1", region="us-east-1", launched=checked, state=state, checked=checked, **{**defaults, **fields}
    )


def test_the_observed_hours_in_each_state_are_added_up() -> None:
    observed = instance().observe("running", 1 * HOUR)
    observed = observed.observe("stopped", 2 * HOUR, "User initiated (1970-01-01 01:30:00 GMT)")
    assert (observed.running_seconds, observed.stopped_seconds) == (1.5 * HOUR, 0.5 * HOUR)
    observed = observed.observe("stopped", 3 * HOUR)
    assert (observed.running_seconds, observed.stopped_seconds, observed.state) == (
        1.5 * HOUR,
        1.5 * HOUR,
        "stopped",
    )


def test_an_instance_that_was_started_again_was_stopped_until_then() -> None:
    observed = instance("stopped").observe("running", 2 * HOUR, "")
    assert (observed.running_seconds, observed.stopped_seconds) == (0.0, 2 * HOUR)


def test_hours_between_an_unobserved_start_and_stop_are_counted() -> None:
    """EC2 starts an interrupted spot instance again, and its deadline stops it, with the client off."""
    interrupted = instance("stopped", checked=1 * HOUR)
    reason = "User initiated (1970-01-01 07:00:00 GMT)"
    observed = interrupted.observe("stopped", 20 * HOUR, reason, started=4 * HOUR)
    assert (observed.running_seconds, observed.stopped_seconds) == (3 * HOUR, 16 * HOUR)
    going = interrupted.observe("running", 6 * HOUR, "", started=4 * HOUR)
    assert (going.running_seconds, going.stopped_seconds) == (2 * HOUR, 3 * HOUR)


def test_an_instance_that_stopped_unobserved_ran_to_its_deadline() -> None:
    observed = instance().observe("stopped", 24 * HOUR, "Client.InstanceInitiatedShutdown")
    assert (observed.running_seconds, observed.stopped_seconds) == (10 * HOUR, 14 * HOUR)
    assert instance().observe("stopped", 2 * HOUR).running_seconds == 2 * HOUR


def test_an_ended_instance_keeps_its_end_and_costs_no_more() -> None:
    ended = instance().observe("terminated", 3 * HOUR, "User initiated (1970-01-01 02:00:00 GMT)")
    assert (ended.running_seconds, ended.ended) == (2 * HOUR, 2 * HOUR)
    later = ended.observe("terminated", 9 * HOUR)
    assert (later.running_seconds, later.ended) == (2 * HOUR, 2 * HOUR)
    assert prices.cost(later, 99 * HOUR) == prices.cost(ended, 3 * HOUR)


@pytest.mark.parametrize(
    ("reason", "at"),
    [
        ("User initiated (1970-01-01 01:00:00 GMT)", HOUR),
        ("User initiated (2026-11-21 09:00:00 GMT)", 2 * HOUR),
        ("", None),
        ("Client.InstanceInitiatedShutdown", None),
    ],
)
def test_the_time_of_a_change_is_read_from_the_reason_of_ec2(reason: str, at: float | None) -> None:
    assert transition_time(reason, 0.0, 2 * HOUR) == at


def test_costs_grow_between_checks_and_the_maximum_ends_at_the_deadline() -> None:
    price = prices.hourly(1.006, 100, "us-east-1")
    observed = instance()
    assert prices.cost(observed, 2 * HOUR) == pytest.approx(2 * price.running)
    assert prices.worst_case(observed, 2 * HOUR) == pytest.approx(10 * price.running)
    stopped = observed.observe("stopped", 2 * HOUR)
    assert prices.cost(stopped, 4 * HOUR) == pytest.approx(2 * price.running + 2 * price.disk)
    assert prices.worst_case(stopped, 4 * HOUR) == prices.cost(stopped, 4 * HOUR)


def test_a_machine_of_unknown_price_still_costs_its_disk_and_address() -> None:
    assert prices.of(instance(usd_per_hour=None)) == prices.hourly(0.0, 100, "us-east-1")


def test_an_instance_not_checked_since_its_deadline_ran_no_longer() -> None:
    """It stopped itself at its deadline: only its disk costs since."""
    price = prices.hourly(1.006, 100, "us-east-1")
    week = 10 * HOUR + 7 * 24 * HOUR
    assert prices.cost(instance(), week) == pytest.approx(10 * price.running + 7 * 24 * price.disk)
    late = instance(checked=12 * HOUR)  # observed running past its deadline, so it has not stopped itself
    assert prices.cost(late, 13 * HOUR) == pytest.approx(1 * price.running)
    foreign = instance(managed=False, deadline=0.0)
    assert prices.cost(foreign, 2 * HOUR) == pytest.approx(2 * price.running)


@pytest.mark.parametrize(
    ("state", "supervised", "hours"),
    [
        ({"ended": 9 * HOUR, "heartbeat": 9 * HOUR}, False, 2),
        ({"ended": None, "heartbeat": 9 * HOUR}, True, 2.5),
        ({"ended": None, "heartbeat": 9 * HOUR}, False, 2),
    ],
    ids=["ended", "going", "lost"],
)
def test_a_run_costs_the_hours_of_its_attempts_alone(
    state: dict[str, Any], supervised: bool, hours: float
) -> None:
    """It first started at 0, was resumed, and has used two hours by its last heartbeat."""
    facts = {"first_started": 0.0, "started": 8 * HOUR, "used_seconds": 2 * HOUR, **state}
    observed = run(facts, supervised)
    price = prices.hourly(1.006, 100, "us-east-1")
    assert prices.run_cost(instance(), observed, 9.5 * HOUR) == pytest.approx(hours * price.running)


def test_an_active_run_costs_no_more_after_the_end_of_its_instance() -> None:
    observed = run({"ended": None, "heartbeat": 9 * HOUR, "used_seconds": HOUR}, supervised=True)
    price = prices.hourly(1.006, 100, "us-east-1")
    assert prices.run_cost(instance(), observed, 999 * HOUR) == pytest.approx(2 * price.running)
    stopped = instance().observe("stopped", 9 * HOUR)
    assert prices.run_cost(stopped, observed, 999 * HOUR) == pytest.approx(1 * price.running)


def test_a_changed_type_keeps_what_the_instance_cost_before() -> None:
    observed = instance().observe("stopped", 2 * HOUR)
    before = prices.cost(observed, 2 * HOUR)
    small = prices.with_type(observed, "t3.small", 0.12, 2 * HOUR).observe("running", 2 * HOUR)
    assert prices.cost(small, 2 * HOUR) == pytest.approx(before)
    disk = 8 / 730
    assert prices.cost(small, 3 * HOUR) == pytest.approx(before + 0.12 + disk + 0.005)


def test_a_run_costs_no_more_than_its_instance() -> None:
    used = {"started": HOUR, "heartbeat": 9 * HOUR, "used_seconds": 8 * HOUR, "ended": 9 * HOUR}
    small = instance(gpu_type="g5.xlarge", usd_per_hour=0.12).observe("running", 0.5 * HOUR)
    assert prices.run_cost(small, run(used, False), 0.5 * HOUR) == prices.cost(small, 0.5 * HOUR)
