"""The limits of a run hold over all its attempts and instances, and `--resume` may replace them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.commands import limits
from orchestrator.core import runfacts
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.runjson import LimitChanges
from orchestrator.errors import GpujobError
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Instance
from tests.support import Client, new_client

RUN = "job-20261121T101112-1a2b"
HOUR = 3600.0


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client


def run(used_hours: float = 3.0, **recorded: Any) -> RunFacts:
    state = {"ended": 1.0, "used_seconds": used_hours * HOUR}
    facts = runfacts.parse_run({"id": RUN, "run": {"job": "job", "limits": recorded}, "state": state})
    assert facts
    return facts


def spend(client: Client, *hours: float) -> None:
    """Record instances of the run at $1 an hour that have ended, each after so many hours."""
    records = Account(client.context()).records
    for number, each in enumerate(hours):
        records.save(
            Instance(
                id=f"i-{number}",
                region="us-east-1",
                launched=0.0,
                run=RUN,
                state="terminated",
                ended=each * HOUR,
                running_seconds=each * HOUR,
                usd_per_hour=0.995,  # with its address $1
            )
        )


def left(client: Client, facts: RunFacts, **options: Any) -> limits.Left:
    return limits.left(client.context(), facts, options.get("max_hours"), options.get("budget"))


def test_a_budget_is_spent_over_all_instances_of_a_run(client: Client) -> None:
    spend(client, 2.0, 1.5)
    rest = left(client, run(budget_usd=10.0, max_hours=10.0))
    assert (rest.budget_usd, rest.hours) == (pytest.approx(6.5), pytest.approx(7.0))
    assert rest.limits.budget_usd == pytest.approx(6.5)


def test_a_budget_that_is_spent_is_refused_with_the_option_that_raises_it(client: Client) -> None:
    spend(client, 8.0, 3.0)
    with pytest.raises(GpujobError, match="is spent") as raised:
        left(client, run(budget_usd=10.0, max_hours=10.0))
    assert raised.value.why == "$11.00 of $10.00 is spent, over all its instances; --budget is a total"
    assert raised.value.next_step == f"gpujob deploy --resume {RUN} --budget 21"
    rest = left(client, run(budget_usd=10.0, max_hours=3.0), budget=20.0)
    assert (rest.budget_usd, rest.hours) == (pytest.approx(9.0), None)
    assert rest.for_run(4.0) == LimitChanges(7.0, 20.0, 7.0)


@pytest.mark.parametrize("recorded", [{"budget_usd": 11.05}, {"max_hours": 3.05}])
def test_a_rest_too_short_for_an_instance_to_boot_is_refused(
    client: Client, recorded: dict[str, float]
) -> None:
    assert left(client, run(max_hours=3.05)).hours == pytest.approx(0.05)  # on a host that is up
    spend(client, 8.0, 3.0)
    with pytest.raises(GpujobError, match=r"does not pay for another 6 minutes|are used up"):
        left(client, run(**recorded))


def test_hours_that_are_used_up_are_refused_unless_raised(client: Client) -> None:
    with pytest.raises(GpujobError, match="are used up") as raised:
        left(client, run(max_hours=3.0))
    assert "--max-hours 6" in raised.value.next_step
    rest = left(client, run(max_hours=3.0), max_hours=8.0)
    assert rest.for_run(None) == LimitChanges(8.0)


def test_a_resumed_run_stops_when_the_rest_of_its_budget_is_spent(client: Client) -> None:
    spend(client, 4.0)
    rest = left(client, run(budget_usd=10.0, max_hours=9.5))
    assert rest.for_run(2.0) == LimitChanges(5.0, 10.0, 5.0)


def test_without_new_limits_and_budget_the_recorded_ones_stay(client: Client) -> None:
    assert left(client, run(max_hours=9.5)).for_run(None) is None
    assert left(client, run()).limits.max_hours is None
