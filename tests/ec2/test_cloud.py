"""Calls of the EC2 API: which errors are retried with the same token, and which are raised at once."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import Exit
from orchestrator.instances import answers
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.errors import AwsError
from tests.ec2 import user
from tests.ec2.test_rig import IMAGE
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client

PAUSES = [1.0, 2.0, 4.0, 8.0, 15.0]
REQUEST = {"ImageId": IMAGE, "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1, "ClientToken": "t1"}


@pytest.fixture
def client(ec2: FakeEC2, realtime_client: Client) -> Client:
    ec2.set(machines=False)
    return realtime_client


@pytest.fixture
def shared(ec2: FakeEC2, monkeypatch: pytest.MonkeyPatch) -> None:
    user.share_clients(monkeypatch, ec2)


def call_ec2(client: Client, operation: str, **words: Any) -> tuple[Any, list[float]]:
    """Call EC2; return the answer or the AwsError, and the pauses between attempts in seconds."""
    slept: list[float] = []
    try:
        return Cloud(user.context(client, slept)).call("us-east-1", operation, **words), slept
    except AwsError as error:
        return error, slept


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("code", ["RequestLimitExceeded", "InternalError"])
def test_a_throttled_launch_retries_its_token_and_makes_one_instance(
    ec2: FakeEC2, client: Client, code: str
) -> None:
    ec2.inject("RunInstances", code, times=2)
    ec2.inject("RunInstances", "Unavailable", after=True)
    answer, slept = call_ec2(client, "run_instances", **REQUEST)
    assert [one["InstanceId"] for one in answer["Instances"]] == list(ec2.states())
    assert slept == PAUSES[:3]
    assert {call["parameters"]["ClientToken"] for call in ec2.calls("RunInstances")} == {"t1"}


@pytest.mark.usefixtures("shared")
def test_a_request_whose_answer_was_lost_is_retried_with_its_token(ec2: FakeEC2, client: Client) -> None:
    ec2.inject("RunInstances", after=True)
    answer, slept = call_ec2(client, "run_instances", **REQUEST)
    assert [one["InstanceId"] for one in answer["Instances"]] == list(ec2.states())
    assert slept == PAUSES[:1]


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize(
    ("body", "code", "message"),
    [("upstream connect error", "Unavailable", "ResponseParserError"), ("<html>502</html>", "502", "502")],
)
def test_an_answer_that_is_not_xml_is_treated_as_throttling(
    ec2: FakeEC2, client: Client, body: str, code: str, message: str
) -> None:
    ec2.inject("DescribeInstances", body=body, times=8)
    error, slept = call_ec2(client, "describe_instances")
    assert (error.exit_code, error.code, slept) == (Exit.UNREACHABLE, code, PAUSES)
    assert message in error.why
    answer, slept = call_ec2(client, "describe_instances")
    assert (answer["Reservations"], slept) == ([], PAUSES[:2])


@pytest.mark.usefixtures("shared")
def test_a_throttled_change_is_retried(ec2: FakeEC2, client: Client) -> None:
    answer, _ = call_ec2(client, "run_instances", **REQUEST)
    ec2.inject("TerminateInstances", "RequestLimitExceeded")
    answer, slept = call_ec2(
        client, "terminate_instances", InstanceIds=[answer["Instances"][0]["InstanceId"]]
    )
    assert (slept, len(answer["TerminatingInstances"])) == (PAUSES[:1], 1)


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize(
    "code", ["InsufficientInstanceCapacity", "VcpuLimitExceeded", "InvalidParameterValue"]
)
def test_an_error_that_waiting_cannot_fix_is_raised_at_once(ec2: FakeEC2, client: Client, code: str) -> None:
    ec2.inject("RunInstances", code)
    error, slept = call_ec2(client, "run_instances", **REQUEST)
    assert (error.code, slept, len(ec2.calls("RunInstances"))) == (code, [], 1)


def test_without_credentials_nothing_is_sent(
    ec2: FakeEC2, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    error, slept = call_ec2(client, "describe_instances")
    assert (error.code, error.exit_code, slept) == ("NoCredentials", Exit.ACCESS, [])
    assert error.next_step == "aws configure, or AWS_PROFILE=NAME"
    assert ec2.calls() == []


def test_an_unknown_profile_is_reported_as_missing_credentials(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    error, _ = call_ec2(client, "describe_instances")
    assert (error.code, error.exit_code) == ("NoCredentials", Exit.ACCESS)
    assert "nowhere" in error.why


def test_without_a_network_the_error_is_raised_at_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    error, slept = call_ec2(client, "run_instances", **REQUEST)
    assert (error.code, error.exit_code, slept) == ("NoConnection", Exit.UNREACHABLE, [])


@pytest.mark.usefixtures("shared")
def test_all_pages_are_read(ec2: FakeEC2, client: Client) -> None:
    ec2.set(hidden_calls=0)
    for number in range(7):
        call_ec2(client, "run_instances", **{**REQUEST, "ClientToken": f"t{number}"})
    reservations = Cloud(client.context()).all(
        "us-east-1", "describe_instances", "Reservations", answers.Reservation, MaxResults=5
    )
    assert len({one.instances[0].instance_id for one in reservations}) == 7
    assert len(ec2.calls("DescribeInstances")) == 2
