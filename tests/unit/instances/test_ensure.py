"""A deploy uses the instance of its job, in whatever state that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.core.resources import Ec2, Resources
from orchestrator.core.spec import JobSpec, Limits
from orchestrator.errors import UsageError
from orchestrator.instances import boot, ensure
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Instance
from orchestrator.instances.quote import quote
from tests.support import Client, new_client
from tests.unit.instances.fake_account import FakeAccount


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client


def test_an_instance_that_is_stopping_is_waited_for_and_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between its deadline and `stopped` it is `stopping` for a while: no reason to launch another."""
    actions: list[str] = []

    def wait_until(_account: Any, instance: Instance, state: str) -> Instance:
        actions.append(f"waited for {state}")
        return replace(instance, state=state)

    def start(_account: Any, instance: Instance, hours: float) -> Instance:
        actions.append(f"started for {hours:g} h")
        return instance

    monkeypatch.setattr(
        ensure.lifecycle, "refresh", lambda _account, instance: replace(instance, state="stopping")
    )
    monkeypatch.setattr(ensure.lifecycle, "wait_until", wait_until)
    monkeypatch.setattr(boot, "start", start)
    job = JobSpec("job", resources=Resources(1, Ec2(types=["g5.xlarge"])), limits=Limits(max_hours=2.0))
    with new_client() as client:
        account = Account(client.context(yes=True))
        account.records.save(Instance(id="i-1", region="us-east-1", launched=1.0, job="job"))
        offer = quote(job, "us-east-1", 0.0, "me", 0)
        assert ensure.ensure(account, offer).label == "ec2://i-1"
    assert actions == ["waited for stopped", "started for 2 h"]


@pytest.mark.parametrize(
    ("hours", "budget", "started_for"),
    [(None, None, 24.0), (3.0, None, 3.0), (None, 2.0, pytest.approx(2 / 1.022, abs=0.01)), (1.0, 20.0, 1.0)],
)
def test_a_resume_starts_a_stopped_instance_for_the_rest_of_its_limits(
    client: Client, monkeypatch: pytest.MonkeyPatch, hours: Any, budget: Any, started_for: Any
) -> None:
    aws = FakeAccount(monkeypatch)
    aws.instance("i-1", state="stopped")
    account = Account(client.context())
    fields = {"type": "g5.xlarge", "usd_per_hour": 1.006, "disk_gb": 100, "state": "running"}
    record = account.records.save(Instance(id="i-1", region="us-east-1", launched=1000.0, **fields))
    started: list[float] = []
    monkeypatch.setattr(ensure, "_use", lambda account, instance, hours, wait: started.append(hours))
    ensure.wake(account, record, hours, budget)
    assert started == [started_for]


def test_a_budget_does_not_start_an_instance_whose_price_is_unknown(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeAccount(monkeypatch).instance("i-1", state="stopped")
    account = Account(client.context())
    record = account.records.save(Instance(id="i-1", region="us-east-1", launched=1000.0))
    with pytest.raises(UsageError, match="cannot be converted"):
        ensure.wake(account, record, None, 20.0)


def test_a_running_instance_is_left_as_it_is_by_a_resume(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = FakeAccount(monkeypatch)
    aws.instance("i-1")
    account = Account(client.context())
    record = account.records.save(Instance(id="i-1", region="us-east-1", launched=1000.0))
    ensure.wake(account, record, 5.0, None)
    assert aws.calls == ["describe_instances"]
