"""A launch that waits for capacity goes on whatever AWS or the network does meanwhile."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.instances import connection, region
from orchestrator.instances.errors import AwsError, NoAddress
from tests.support import Client, new_client
from tests.unit.instances.simulated_world import HOUR
from tests.unit.instances.test_odd_accounts import UP, Start, live, refuse, started
from tests.unit.instances.test_week import Week, week

pytestmark = pytest.mark.slow

__all__ = ["week"]
WAITING = (*UP, "--wait-for-capacity", "3")
OUTAGES = [("NoConnection", 0), ("ConnectionLost", 0), ("RequestLimitExceeded", 503), ("Unavailable", 503)]


def lose(one: Week, code: str, status: int, after: str, seconds: float) -> None:
    """Let every call fail for some time, from the first call of the operation `after`, which is made."""
    real, until = one.aws.once, list[float]()

    def once(where: str, called: str, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
        is_first = called == after and not until
        answer = real(where, called, service, parameters) if is_first or not _is_out(one, until) else {}
        if is_first:
            until.append(one.clock.now + seconds)
        if _is_out(one, until):
            raise AwsError(code, "scripted", called, where, status)
        return answer

    one.aws.once = once  # type: ignore[method-assign, assignment]


def _is_out(one: Week, until: list[float]) -> bool:
    return bool(until) and one.clock.now < until[0]


@pytest.mark.parametrize(("code", "status"), OUTAGES)
@pytest.mark.parametrize("operation", ["describe_instance_type_offerings", "run_instances"])
def test_a_wait_for_capacity_goes_on_while_aws_does_not_answer(
    week: Start, operation: str, code: str, status: int
) -> None:
    one, client = started(week)
    refuse(one, operation, code, one.clock.now + HOUR, status=status)
    result = one.run(client, *WAITING)
    assert result
    assert (result.code, len(live(one)), "trying again in" in result.err) == (0, 1, True), result.err
    assert "EC2 in us-east-1" in result.err


@pytest.mark.parametrize(("code", "status"), OUTAGES)
@pytest.mark.parametrize("seconds", [300.0, 900.0])
def test_an_outage_while_an_instance_is_launched_launches_no_other(
    week: Start, code: str, status: int, seconds: float
) -> None:
    one, client = started(week)
    lose(one, code, status, "run_instances", seconds)
    result = one.run(client, *WAITING)
    assert result
    assert (result.code, len(one.aws.machines)) == (0, 1), result.err


@pytest.mark.parametrize(("code", "status"), OUTAGES)
def test_an_outage_while_a_stopped_instance_is_started_is_waited_for(
    week: Start, code: str, status: int
) -> None:
    one, client = started(week)
    assert one.again(client, *UP)
    one.clock.sleep(3 * HOUR)
    assert live(one) == []
    lose(one, code, status, "start_instances", 1200.0)
    result = one.run(client, *WAITING)
    assert result
    assert (result.code, len(one.aws.machines), len(live(one))) == (0, 1, 1), result.err


def test_a_wait_for_capacity_ends_with_its_hours(week: Start) -> None:
    one, client = started(week)
    begun = one.clock.now
    refuse(one, "run_instances", "NoConnection", one.clock.now + 30 * HOUR)
    result = one.run(client, *WAITING)
    assert result
    assert (result.code, one.aws.machines) == (5, {}), result.err
    assert 3 * HOUR <= one.clock.now - begun < 3.2 * HOUR


def test_an_interrupted_launch_that_finds_no_capacity_is_waited_for(week: Start) -> None:
    one, client = started(week)
    refuse(one, "run_instances", "RequestLimitExceeded", one.clock.now + 120, status=503)
    first = one.run(client, *UP)
    assert first
    assert first.code == 5
    one.clock.sleep(120)
    refuse(one, "run_instances", "InsufficientInstanceCapacity", one.clock.now + HOUR, status=500)
    result = one.run(client, *WAITING)
    assert result
    assert (result.code, len(live(one))) == (0, 1), result.err


@pytest.mark.parametrize("suspended", [0.0, 2000.0])
def test_a_time_out_keeps_an_instance_that_another_client_uses(
    week: Start, monkeypatch: pytest.MonkeyPatch, suspended: float
) -> None:
    """Its network may not let the client that launched it reach port 22."""
    one, client = started(week)
    reaches, results, begun = [False], list[int](), one.clock.now
    monkeypatch.setattr(connection, "answers", lambda address: reaches[0] and one.aws.answers(address))
    with new_client() as other:
        other.env |= {"USER": client.env["USER"], "GPUJOB_TARGET": "ec2"}

        def sleep(seconds: float) -> None:
            one.clock.sleep(seconds)
            if not results and one.clock.now - begun > 300.0:
                reaches[0] = True
                results.append(other.run(*UP, now=lambda: one.clock.now, sleep=one.clock.sleep).code)
                reaches[0] = False
                one.clock.sleep(suspended)

        result = client.run(*UP, now=lambda: one.clock.now, sleep=sleep)
    assert (result.code, results, len(live(one))) == (5, [0], 1), result.err
    assert "another client of yours uses it" in result.err


def test_a_client_that_was_suspended_looks_once_more_before_a_time_out(
    week: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, client = started(week)
    begun = one.clock.now
    monkeypatch.setattr(
        connection, "answers", lambda address: one.clock.now - begun > 300 and one.aws.answers(address)
    )

    def sleep(seconds: float) -> None:
        one.clock.sleep(seconds if one.clock.now - begun < 100 else 2000.0)

    assert client.run(*UP, now=lambda: one.clock.now, sleep=sleep).code == 0
    assert len(live(one)) == 1


def test_port_22_is_opened_again_to_a_client_that_moved_during_a_boot(
    week: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, client = started(week)
    begun, opened = one.clock.now, list[str]()
    address = lambda ctx: "203.0.113.7" if one.clock.now - begun < 60 else "198.51.100.1"  # noqa: E731
    monkeypatch.setattr(region, "own_address", address)

    def allow(account: Any, where: str, cidr: str, *_: Any, **__: Any) -> str:
        opened.append(cidr)
        return "sg-1"

    monkeypatch.setattr(region, "allow_ssh", allow)
    answers = lambda ip: opened[-1:] == ["198.51.100.1/32"] and one.aws.answers(ip)  # noqa: E731
    monkeypatch.setattr(connection, "answers", answers)
    result = one.run(client, *UP)
    assert result
    assert (result.code, opened[-1]) == (0, "198.51.100.1/32"), result.err


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client


class _Address(http.server.BaseHTTPRequestHandler):
    requests = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"203.0.113.7\n")

    def log_message(self, *_: Any) -> None:
        pass


def test_a_command_looks_its_public_address_up_once_in_two_minutes(client: Client) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Address)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client.env["GPUJOB_CHECKIP"] = f"http://127.0.0.1:{server.server_port}/"
    times = [1000.0]
    ctx = client.context(now=lambda: times[0])
    assert {region.own_address(ctx) for _ in range(3)} == {"203.0.113.7"}
    assert _Address.requests == 1
    times[0] += region.ADDRESS_SECONDS
    region.own_address(ctx)
    assert _Address.requests == 2
    server.shutdown()
    server.server_close()
    times[0] += region.ADDRESS_SECONDS
    with pytest.raises(NoAddress):
        region.own_address(ctx)
