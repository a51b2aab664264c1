"""A persistent spot request never launches another instance, however its first one ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.instances import changes
from orchestrator.instances.cloud import Account, Cloud
from tests.ec2 import user
from tests.ec2.test_rig import aws
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client

SPOT = ("hosts", "up", "--spot", "--type", "g5.xlarge", "--max-hours", "2", "--yes")


class Killed(BaseException):
    """Acts like SIGKILL: no further code of the command runs."""


@pytest.fixture
def launched(ec2: FakeEC2, client: Client) -> str:
    """Launch a running spot instance without a machine; return its id."""
    ec2.set(machines=False, hidden_calls=0)

    def stop_waiting(seconds: float) -> None:
        if any(one.state == "running" for one in user.store(client).all()):
            raise Killed

    with pytest.raises(Killed):
        user.run(client, *SPOT, sleep=stop_waiting)
    return user.only(client).id


def settled(ec2: FakeEC2, instance: str) -> None:
    """Check that the instance has ended, and that its request launched no other."""
    ec2.until(lambda: ec2.states()[instance] == "terminated")
    assert ec2.states() == {instance: "terminated"}
    assert [request["state"] for request in ec2.spot_requests()] == ["cancelled"]


def test_hosts_down_cancels_the_request_before_it_terminates(
    ec2: FakeEC2, client: Client, launched: str
) -> None:
    (request,) = ec2.spot_requests()
    assert (request["is_persistent"], request["stops"], request["state"]) == (True, True, "active")
    assert request["tags"]["gpujob:managed"] == "1"
    down = user.run(client, "hosts", "down", f"ec2://{launched}", "--discard", "--purge", "--yes")
    assert down.code == 0, down.err
    settled(ec2, launched)
    actions = [call["action"] for call in ec2.calls()]
    assert actions.index("CancelSpotInstanceRequests") < actions.index("TerminateInstances")
    assert ec2.leftovers() == []


@pytest.mark.parametrize("operation", ["cancel_spot_instance_requests", "terminate_instances"])
@pytest.mark.parametrize("is_sent", [False, True])
def test_a_client_killed_between_cancel_and_terminate_leaves_no_replacement(
    ec2: FakeEC2,
    client: Client,
    launched: str,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    is_sent: bool,
) -> None:
    real: Callable[..., Any] = Cloud._once

    def once(cloud: Cloud, region: str, called: str, *more: Any) -> Any:
        if called == operation and not is_sent:
            raise Killed
        answer = real(cloud, region, called, *more)
        if called == operation:
            raise Killed
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Cloud, "_once", once)
        with pytest.raises(Killed):
            user.run(client, "hosts", "down", f"ec2://{launched}", "--discard", "--yes")
    user.run(client, "status")
    settled(ec2, launched)
    user.run(client, "status")
    assert user.store(client).changes() == []


def test_an_instance_that_its_deadline_stopped_is_not_replaced(
    ec2: FakeEC2, client: Client, launched: str
) -> None:
    aws().stop_instances(InstanceIds=[launched])  # as a shutdown from the instance itself
    ec2.until(lambda: ec2.states()[launched] == "stopped")
    listed = user.run(client, "hosts", "list")
    assert f"ec2://{launched}" in listed.out
    assert "stopped" in listed.out
    down = user.run(client, "hosts", "down", f"ec2://{launched}", "--discard", "--yes")
    assert down.code == 0, down.err
    settled(ec2, launched)


def test_a_spot_instance_of_a_lost_record_is_ended_with_its_request(
    ec2: FakeEC2, client: Client, launched: str
) -> None:
    path = client.state_dir / "instances" / f"{launched}.json"
    path.unlink()
    account = Account(client.context(sleep=lambda seconds: None))
    account.records.save_change(changes.Change("terminate", launched, "us-east-1"))
    changes.complete(account)
    settled(ec2, launched)
