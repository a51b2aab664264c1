"""What a launch, a search and a quote do about answers of EC2 that few accounts give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.core.resources import Ec2, Resources
from orchestrator.core.spec import JobSpec
from orchestrator.instances import changes, quote
from orchestrator.instances.cloud import Account, Cloud
from orchestrator.instances.errors import AwsError
from orchestrator.instances.instance import STOPPED
from tests.support import Client, new_client
from tests.unit.instances.fake_account import FakeAccount, tags
from tests.unit.instances.simulated_aws import Killed
from tests.unit.instances.simulated_world import HOUR
from tests.unit.instances.test_week import Week, week

__all__ = ["week"]
UP = ("hosts", "up", "--type", "g5.xlarge", "--max-hours", "2", "--yes")
Start = Callable[[int], Week]


def started(week: Start) -> tuple[Week, Client]:
    """Return a week in which nothing fails by itself, and its first client."""
    one = week(1)
    one.aws.faults = 0.0
    return one, one.clients[0]


def refuse(one: Week, operation: str, code: str, until: float, zone: str = "", status: int = 400) -> None:
    """Make EC2 refuse an operation until a time; in a zone only, if one is named."""
    real = one.aws.once

    def once(where: str, called: str, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if called == operation and one.clock.now < until and zone in str(parameters):
            raise AwsError(code, "scripted", called, where, status)
        return real(where, called, service, parameters)

    one.aws.once = once  # type: ignore[method-assign]


def live(one: Week) -> list[str]:
    one.aws.advance()
    return [machine.id for machine in one.aws.machines.values() if machine.state == "running"]


def test_a_launch_survives_minutes_in_which_ec2_limits_requests(week: Start) -> None:
    one, client = started(week)
    real = one.aws.once

    def once(where: str, called: str, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = real(where, called, service, parameters)
        if called == "run_instances":
            refuse(one, "describe_instances", "RequestLimitExceeded", one.clock.now + 240, status=503)
        return answer

    one.aws.once = once  # type: ignore[method-assign]
    result = one.run(client, *UP)
    assert result
    assert (result.code, "asking again" in result.err, len(live(one))) == (0, True, 1), result.err


def test_a_launch_that_ec2_does_not_take_for_long_is_resumed_once(week: Start) -> None:
    one, client = started(week)
    refuse(one, "run_instances", "RequestLimitExceeded", one.clock.now + 300, status=503)
    first = one.run(client, *UP)
    assert first
    assert (first.code, "the same command again" in first.err, live(one)) == (5, True, [])
    one.clock.sleep(300)
    assert one.again(client, *UP)
    assert len(one.aws.machines) == 1


@pytest.mark.parametrize(
    ("operation", "code", "advice"),
    [
        ("run_instances", "ExpiredToken", "aws sso login"),
        ("run_instances", "NoCredentials", "aws"),
        ("describe_instances", "ExpiredToken", "aws sso login"),
        ("create_security_group", "ExpiredTokenException", "aws sso login"),
    ],
)
def test_a_login_that_ends_during_a_launch_leaves_one_to_continue(
    week: Start, operation: str, code: str, advice: str
) -> None:
    one, client = started(week)
    real = one.aws.once
    passed = list[str]()

    def once(where: str, called: str, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
        passed.append(called)
        if called == operation and (operation != "describe_instances" or "run_instances" in passed):
            raise AwsError(code, "the security token is expired", called, where, 400)
        return real(where, called, service, parameters)

    one.aws.once = once  # type: ignore[method-assign]
    first = one.run(client, *UP)
    assert first
    assert (first.code, advice in first.err) == (4, True), first.err
    one.aws.once = real  # type: ignore[method-assign]
    assert one.again(client, *UP)
    assert len(one.aws.machines) == 1


def test_a_deadline_that_passes_during_the_boot_leaves_nothing(week: Start) -> None:
    one, client = started(week)
    result = one.run(client, "hosts", "up", "--type", "g5.xlarge", "--max-hours", "0.003", "--yes")
    assert result
    assert result.code != 0
    one.clock.sleep(2 * HOUR)
    one.again(client, "status")
    one.clock.sleep(2 * HOUR)
    one.again(client, "status")
    assert one.aws.billed(client.context().who) == set()


def test_a_client_whose_clock_is_late_never_shows_a_negative_cost(week: Start) -> None:
    one, client = started(week)
    late = lambda: one.clock.now - 240  # noqa: E731 - AWS refuses more than five minutes
    assert client.run(*UP, now=late, sleep=one.clock.sleep).code == 0
    (row,) = client.run("cost", "--json", now=late, sleep=one.clock.sleep).json["instances"]
    assert 0 <= row["cost_usd"] < 0.1
    one.clock.sleep(HOUR)
    (row,) = client.run("cost", "--json", now=late, sleep=one.clock.sleep).json["instances"]
    assert row["cost_usd"] == pytest.approx(1.022, abs=0.1)


def test_an_instance_that_ec2_still_counts_as_stopping_is_started(week: Start) -> None:
    one, client = started(week)
    assert one.again(client, *UP)
    one.clock.sleep(3 * HOUR)
    assert live(one) == []
    refuse(one, "modify_instance_attribute", "IncorrectInstanceState", one.clock.now + 8)
    assert one.again(client, *UP)
    assert (len(one.aws.machines), len(live(one))) == (1, 1)


@pytest.mark.parametrize("is_empty", [False, True])
def test_an_instance_that_ec2_loses_sight_of_for_seconds_is_kept(week: Start, is_empty: bool) -> None:
    one, client = started(week)
    assert one.again(client, *UP)
    one.clock.sleep(HOUR)
    real, back = one.aws.once, one.clock.now + 4

    def once(where: str, called: str, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if called == "describe_instances" and one.clock.now < back:
            if is_empty or "InstanceIds" not in parameters:
                return {"Reservations": []}
            raise AwsError("InvalidInstanceID.NotFound", "scripted", called, where, 400)
        return real(where, called, service, parameters)

    one.aws.once = once  # type: ignore[method-assign]
    assert one.again(client, *UP)
    assert (len(one.aws.machines), len(live(one))) == (1, 1)


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("cancel_spot_instance_requests", "InvalidSpotInstanceRequestID.NotFound"),
        ("describe_instances", "InvalidInstanceID.NotFound"),
    ],
)
def test_a_new_instance_that_ec2_does_not_show_yet_is_ended(week: Start, operation: str, code: str) -> None:
    """The client was killed right after its launch, so that the next command created nothing itself."""
    one, client = started(week)
    real = one.aws.once

    def once(where: str, called: str, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = real(where, called, service, parameters)
        if called == "describe_instances" and one.aws.machines:
            raise Killed
        return answer

    one.aws.once = once  # type: ignore[method-assign]
    assert one.run(client, *UP, "--spot") is None
    one.aws.once = real  # type: ignore[method-assign]
    account = Account(client.context(now=lambda: one.clock.now, sleep=one.clock.sleep))
    (record,) = account.records.all()
    changes.decide(account, record, with_volume=False)
    refuse(one, operation, code, one.clock.now + 15)
    for _ in range(4):
        status = one.run(client, "status")
        assert status
        assert status.code == 0, status.err
        one.clock.sleep(2 * HOUR)
    assert [machine.state for machine in one.aws.machines.values()] == ["terminated"]
    assert [request.state for request in one.aws.requests.values()] == ["cancelled"]


def test_a_filter_has_at_most_as_many_values_as_ec2_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    aws, counts = FakeAccount(monkeypatch), list[int]()
    aws.others["SecurityGroups"] = [{"GroupId": f"sg-{number}", "Tags": tags()} for number in range(450)]
    real: Callable[..., Any] = Cloud._once

    def once(_: Cloud, where: str, operation: str, service: str, parameters: dict[str, Any]) -> Any:
        counts.extend(len(one["Values"]) for one in parameters.get("Filters", []))
        return real(where, operation, service, parameters)

    monkeypatch.setattr(Cloud, "_once", once)
    with new_client() as client:
        assert client.run("hosts", "orphans", "--json", sleep=lambda seconds: None).code == 0
    assert (max(counts), counts.count(200)) == (200, 2)


def test_a_stopped_instance_without_a_record_costs_its_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    aws = FakeAccount(monkeypatch)
    aws.instance("i-1", state=STOPPED, volume="vol-1", user="bob@desk")
    aws.volume("vol-1", "in-use", 100, on="i-1")
    aws.volume("vol-0", "in-use", 60, on="i-1")
    with new_client() as client:
        client.env["GPUJOB_TARGET"] = "ec2"
        (row,) = client.run("hosts", "list", "--json", sleep=lambda seconds: None).json["resources"]
    assert (row["id"], row["usd_per_month"]) == ("i-1", 12.8)


def test_prices_that_are_half_a_year_old_are_said_to_be() -> None:
    job = JobSpec("job", resources=Resources(1, Ec2(types=["g5.xlarge"])))
    day = 1_784_505_600.0  # 2026-07-20, that of the shipped prices
    for days, is_stale in ((179, False), (181, True)):
        lines = quote.quote(job, "us-east-1", day + days * 86400, "me", 0).lines("this address/32")
        assert any("hosts types --refresh" in line for line in lines) == is_stale


@pytest.mark.parametrize(
    "operation", ["cancel_spot_instance_requests", "terminate_instances", "delete_volume"]
)
def test_a_login_that_ends_during_a_deletion_leaves_one_that_is_completed(
    week: Start, operation: str
) -> None:
    one, client = started(week)
    assert one.again(client, *UP, "--spot")
    refuse(one, operation, "ExpiredToken", one.clock.now + HOUR)
    down = one.run(client, "hosts", "down", "ec2", "--yes")
    assert down
    assert "ExpiredToken" in down.err
    one.clock.sleep(HOUR)
    for _ in range(3):
        one.again(client, "status")
        one.clock.sleep(2 * HOUR)  # an instance may take that long to end
    assert one.aws.billed(client.context().who) == set()
    assert [request.state for request in one.aws.requests.values()] == ["cancelled"]


@pytest.mark.parametrize("code", ["InvalidGroupId.NotFound", "UnauthorizedOperation", "DependencyViolation"])
def test_a_termination_is_done_although_its_group_stays(week: Start, code: str) -> None:
    one, client = started(week)
    assert one.again(client, *UP)
    refuse(one, "delete_security_group", code, one.clock.now + 100 * HOUR)
    one.run(client, "hosts", "down", "ec2", "--yes")
    for _ in range(2):
        one.clock.sleep(2 * HOUR)
        status = one.again(client, "status")
    assert (live(one), "is not done yet" in status.err) == ([], False)


def test_a_protected_instance_stays_listed_until_its_protection_ends(week: Start) -> None:
    one, client = started(week)
    assert one.again(client, *UP)
    (machine,) = live(one)
    refuse(one, "terminate_instances", "OperationNotPermitted", one.clock.now + HOUR)
    down = one.run(client, "hosts", "down", "ec2", "--yes")
    assert down
    assert (down.code != 0, "OperationNotPermitted" in down.err) == (True, True), down.err
    listed = one.again(client, "hosts", "list", "--json")
    assert [row["label"] for row in listed.json["instances"]] == [f"ec2://{machine}"]
    one.clock.sleep(HOUR)
    one.again(client, "status")
    assert live(one) == []
