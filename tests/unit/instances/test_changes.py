"""Deletions that were decided are completed by a later command, whatever interrupted them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from orchestrator.errors import Unreachable
from orchestrator.instances import changes, launching
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Instance
from tests.support import Client, new_client
from tests.unit.instances.fake_account import FakeAccount


class Killed(BaseException):
    """Acts like SIGKILL."""


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> FakeAccount:
    return FakeAccount(monkeypatch)


class Time:
    """A clock that `sleep` advances."""

    def __init__(self) -> None:
        self.now = 5000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def account(client: Client, time: Time) -> Account:
    return Account(client.context(now=lambda: time.now, sleep=time.sleep))


def launched(of: Account, aws: FakeAccount) -> Instance:
    aws.instance("i-1", volume="vol-1")
    aws.volume("vol-1", "in-use", on="i-1")
    record = Instance(id="i-1", region="us-east-1", launched=1000.0, spot=True, volume="vol-1", volume_gb=100)
    return of.records.save(record)


@pytest.mark.parametrize("seconds", [120.0, 1e6])
def test_a_volume_that_hangs_on_another_instance_is_waited_for(
    client: Client, aws: FakeAccount, seconds: float
) -> None:
    """EC2 forces an instance off that does not shut down, which takes minutes."""
    time = Time()
    of = account(client, time)
    record = replace(launched(of, aws), id="i-2", volume_to_attach="vol-1")
    aws.errors["attach_volume"] = "VolumeInUse"

    def sleep(pause: float) -> None:
        time.sleep(pause)
        if time.now > 5000.0 + seconds:
            aws.errors.clear()

    of = Account(client.context(now=lambda: time.now, sleep=sleep))
    if seconds < 300:
        changes.attach_volume(of, record)
    else:
        with pytest.raises(Unreachable, match="vol-1 is still attached to another instance"):
            changes.attach_volume(of, record)
        assert time.now < 5400.0
    assert of.ctx.stderr.getvalue().count("waiting until volume vol-1") == 1  # type: ignore[attr-defined]


def test_a_volume_is_deleted_although_the_termination_takes_long(client: Client, aws: FakeAccount) -> None:
    aws.ending = 400
    time = Time()
    of = account(client, time)
    with pytest.raises(Unreachable, match="shutting-down"):
        changes.terminate(of, launched(of, aws), with_volume=True)
    assert list(aws.volumes) == ["vol-1"]
    aws.ending = 0
    result = client.run("status", now=lambda: time.now, sleep=time.sleep)
    assert result.code == 0, result.err
    assert (aws.volumes, of.records.changes()) == ({}, [])
    assert of.records.get("i-1").volume is None


@pytest.mark.parametrize("at", range(1, 12))
def test_a_termination_that_is_killed_at_any_call_is_completed(
    client: Client, aws: FakeAccount, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    time = Time()
    of = account(client, time)
    instance = launched(of, aws)
    real, passed = FakeAccount._once, list[str]()

    def once(self: FakeAccount, *words: str) -> object:
        passed.append(words[1])
        if len(passed) == at:
            raise Killed
        answer = real(self, *words)  # type: ignore[arg-type]
        passed.append(words[1])
        if len(passed) == at:
            raise Killed
        return answer

    monkeypatch.setattr("orchestrator.instances.cloud.Cloud._once", lambda cloud, *words: once(aws, *words))
    try:
        changes.terminate(of, instance, with_volume=True)
    except Killed:
        pass
    else:
        assert len(passed) < at
    at = 0
    for _ in range(4):
        launching.settle(account(client, time))
    assert aws.instances["i-1"]["State"]["Name"] == "terminated"
    assert (aws.volumes, of.records.changes()) == ({}, [])


def test_a_deletion_that_ec2_refuses_stays_open_and_is_reported(client: Client, aws: FakeAccount) -> None:
    of = account(client, Time())
    aws.errors["terminate_instances"] = "OperationNotPermitted"
    with pytest.raises(Exception, match="OperationNotPermitted"):
        changes.terminate(of, launched(of, aws))
    result = client.run("status")
    assert (result.code, "the termination of i-1 is not done yet" in result.err) == (0, True)
    del aws.errors["terminate_instances"]
    launching.settle(of)
    launching.settle(of)
    assert of.records.changes() == []


def test_a_volume_that_is_still_in_use_is_deleted_later(client: Client, aws: FakeAccount) -> None:
    of = account(client, Time())
    launched(of, aws)
    of.records.save_change(changes.Change("delete-volume", "vol-1", "us-east-1", "i-1"))
    changes.complete(of)
    assert (list(aws.volumes), len(of.records.changes())) == (["vol-1"], 1)
    aws.volumes["vol-1"]["on"] = ""
    changes.complete(of)
    assert (aws.volumes, of.records.changes()) == ({}, [])


def test_credentials_of_another_account_complete_no_deletion(client: Client, aws: FakeAccount) -> None:
    """In that account there is no such resource either, which does not mean that it was deleted."""
    of = account(client, Time())
    launched(of, aws)
    of.records.save(replace(of.records.get("i-1"), account="2", spot_request="sir-1"))
    aws.instances.clear()
    theirs, aws.volumes = aws.volumes, {}
    of.records.save_change(changes.Change("delete-volume", "vol-1", "us-east-1", "i-1"))
    aws.errors["cancel_spot_instance_requests"] = "InvalidSpotInstanceRequestID.NotFound"
    of.records.save_change(changes.Change("cancel-request", "sir-1", "us-east-1"))
    result = client.run("status")
    assert "ec2://i-1 cannot be seen with these credentials" in result.err
    assert {change.id for change in of.records.changes()} == {"vol-1", "sir-1"}
    assert of.records.get("i-1").volume == "vol-1"
    of.records.save(replace(of.records.get("i-1"), account="1"))  # the first credentials again
    aws.volumes = {"vol-1": {**theirs["vol-1"], "on": ""}}
    aws.errors.clear()
    changes.complete(of)
    assert (aws.volumes, of.records.changes()) == ({}, [])


def test_a_volume_is_not_forgotten_with_credentials_of_another_account(
    client: Client, aws: FakeAccount
) -> None:
    of = account(client, Time())
    ended = replace(launched(of, aws), state="terminated", ended=2000.0, account="2")
    of.records.save(ended)
    aws.instances.clear()
    aws.volumes.clear()
    listed = client.run("hosts", "list", now=lambda: 5000.0, sleep=lambda seconds: None)
    assert (listed.code, "ec2://i-1 cannot be seen with these credentials" in listed.err) == (4, True)
    assert of.records.get("i-1").volume == "vol-1"
    of.records.save(replace(ended, account="1"))
    client.run("hosts", "list", now=lambda: 9000.0, sleep=lambda seconds: None)
    assert of.records.get("i-1").volume is None
