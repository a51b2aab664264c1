"""A deploy uses the instance of its job, in whatever state that is."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.core.spec import Ec2, JobSpec, Limits, Resources
from orchestrator.instances import ensure
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Instance
from orchestrator.instances.quote import quote
from orchestrator.instances.region import Ingress
from tests.support import new_client


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
    monkeypatch.setattr(ensure, "start", start)
    job = JobSpec("job", resources=Resources(1, Ec2(types=["g5.xlarge"])), limits=Limits(max_hours=2.0))
    with new_client() as client:
        account = Account(client.context(yes=True))
        account.records.save(Instance(id="i-1", region="us-east-1", launched=1.0, job="job"))
        offer = quote(job, "us-east-1", 0.0, "me", 0)
        assert ensure.ensure(account, offer, Ingress()).label == "ec2://i-1"
    assert actions == ["waited for stopped", "started for 2 h"]
