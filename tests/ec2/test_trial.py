"""`doctor --on ec2 --launch` tries a small instance, and leaves nothing."""

from __future__ import annotations

from tests.ec2 import user
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client


def test_doctor_launches_checks_and_terminates_a_small_instance(ec2: FakeEC2, client: Client) -> None:
    words = ("doctor", "--on", "ec2", "--launch")
    refused = user.run(client, *words)
    assert (refused.code, ec2.states()) == (7, {}), refused.err
    assert "t3.small or t3.xlarge, on demand, in us-east-1" in refused.err
    result = user.run(client, *words, "--yes", "--json")
    assert result.code == 0, result.out + result.err
    rows = {row["what"]: row for row in result.json["rows"]}
    for what in ("boot", "network", "host key", "shutdown", "clean-up"):
        assert rows[what]["verdict"] == "ok", rows[what]
    assert "t3.small in us-east-1" in rows["boot"]["detail"]
    assert list(ec2.states().values()) == ["terminated"]
    assert ec2.leftovers() == []


def test_a_trial_that_cannot_be_launched_is_reported(ec2: FakeEC2, client: Client) -> None:
    ec2.inject("RunInstances", "InsufficientInstanceCapacity", times=99)
    result = user.run(client, "doctor", "--on", "ec2", "--launch", "--yes", "--json")
    rows = {row["what"]: row for row in result.json["rows"]}
    assert (result.code, rows["boot"]["verdict"], rows["clean-up"]["verdict"]) == (1, "missing", "ok")
    assert "no capacity for t3.small, t3.xlarge" in rows["boot"]["detail"]
    assert ec2.states() == {}


def test_a_host_that_is_not_launched_takes_no_trial(client: Client) -> None:
    result = user.run(client, "doctor", "--on", "local", "--launch")
    assert (result.code, "--launch is for EC2" in result.err) == (2, True)
