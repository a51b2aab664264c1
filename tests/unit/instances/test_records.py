"""Records of instances and launch attempts: saved, damaged, and of version 1."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from orchestrator.instances.instance import Instance
from orchestrator.instances.records import InstanceStore, LaunchAttempt, SentRequest
from orchestrator.instances.spec import Candidate, LaunchSpec
from tests.support import REPOSITORY, new_client

VERSION_1 = REPOSITORY / "tests" / "fixtures" / "client_state_v1"
"""The client's state folder as commit 55b617d wrote it: three instances, one interrupted launch."""
INSTANCE = Instance(id="i-1", region="us-east-1", launched=5.0, job="job", usd_per_hour=1.0, run="job-1")
CANDIDATE = Candidate("us-east-1", "us-east-1a", "g5.xlarge", spot=False)
SPEC = LaunchSpec(
    types=("g5.xlarge",), regions=("us-east-1",), spot=False, deadline=9.0, job="job", owner="ada@desk"
)


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    shutil.copytree(VERSION_1, tmp_path / "state")
    return tmp_path / "state"


def test_a_saved_record_is_loaded_unchanged(tmp_path: Path) -> None:
    store = InstanceStore(tmp_path)
    store.save(INSTANCE)
    assert store.find("i-1") == store.find_label("ec2://i-1") == INSTANCE
    assert store.find("i-2") is store.find_label("i-1") is store.find_label("local") is None
    store.save(ended := replace(INSTANCE, id="i-0", launched=1.0, state="terminated"))
    assert (store.all(), store.current()) == ([ended, INSTANCE], [INSTANCE])


def test_an_attempt_is_stored_with_its_request_until_it_is_closed(tmp_path: Path) -> None:
    store = InstanceStore(tmp_path)
    request = SentRequest(CANDIDATE, {"ClientToken": "t", "MinCount": 1}, 7.0)
    attempt = LaunchAttempt(
        id="a1", created=1.0, spec=SPEC, user_data="#", first_host_key="ssh-ed25519 A", request=request
    )
    store.save_attempt(attempt)
    assert store.attempts() == [attempt]
    assert (tmp_path / "launches" / "a1.json").stat().st_mode & 0o777 == 0o600
    store.close_attempt("a1")
    store.close_attempt("a1")
    assert store.attempts() == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{half",
        "[" * 100_000,
        "null",
        "[]",
        '"i-bad"',
        "{}",
        '{"v": 2, "id": "i-bad", "region": "us-east-1", "launched": "yesterday"}',
        '{"v": 2, "id": "i-bad", "region": "us-east-1", "launched": 1, "deadline": null}',
        '{"v": 2, "id": "i-other", "region": "us-east-1", "launched": 1}',
        '{"id": "i-bad", "region": ["us-east-1"], "launched": 1}',
        '{"id": "i-bad", "want": 3}',
        '{"id": "i-bad", "want": {}, "tried": 3, "current": [1]}',
        '{"id": "i-bad", "want": {}, "tried": {"a": 1}, "current": null}',
    ],
)
def test_a_damaged_record_affects_only_itself(tmp_path: Path, text: str) -> None:
    store = InstanceStore(tmp_path)
    store.save(INSTANCE)
    for folder in ("instances", "launches", "boxes", "attempts"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "i-bad.json").write_text(text)
    assert store.all() == [INSTANCE]
    assert (store.find("i-bad"), store.attempts()) == (None, [])


def test_a_label_that_is_a_path_leads_to_no_file(tmp_path: Path) -> None:
    InstanceStore(tmp_path).save(INSTANCE)
    assert InstanceStore(tmp_path).find_label("ec2://../instances/i-1") is None


def test_instances_of_version_1_are_read_with_all_that_they_cost(version_1: Path) -> None:
    instances = {instance.job: instance for instance in InstanceStore(version_1).all()}
    spot, third, first = instances["other"], instances["third"], instances["box"]
    assert (spot.spot, spot.disk_gb, spot.login_user, spot.ready) == (True, 135, "ubuntu", False)
    assert spot.first_host_key
    assert third.has_ended
    assert third.ended == third.checked
    assert third.running_seconds > 0
    assert not third.ends_with_run
    assert third.state_reason == "Client.UserInitiatedShutdown"
    assert (first.usd_per_hour, first.host_key_rotated, first.managed) == (1.006, True, True)
    assert (first.state, first.launch is not None, first.account) == ("running", True, "123456789012")
    assert first.security_group
    assert first.deadline > first.started == first.launched


def test_an_interrupted_launch_of_version_1_keeps_its_request(version_1: Path) -> None:
    (attempt,) = InstanceStore(version_1).attempts()
    assert (attempt.spec.job, attempt.spec.owner, attempt.spec.data_gb) == ("other", "tester@vm", 100)
    (failure,) = attempt.failures
    assert (failure.candidate.zone, failure.code) == ("us-east-1a", "InsufficientInstanceCapacity")
    assert attempt.request
    assert attempt.request.candidate.zone == "us-east-1b"
    assert attempt.request.parameters["TagSpecifications"][0]["Tags"][1]["Value"] == attempt.id
    assert attempt.request.sent > attempt.created


def test_a_record_of_version_1_is_replaced_at_the_next_write(version_1: Path) -> None:
    store = InstanceStore(version_1)
    for instance in store.all():
        store.save(instance)
    (attempt,) = store.attempts()
    store.save_attempt(attempt)
    assert (len(store.all()), store.attempts()) == (3, [attempt])
    assert [*(version_1 / "boxes").iterdir(), *(version_1 / "attempts").iterdir()] == []
    store.close_attempt(attempt.id)
    assert store.attempts() == []


def test_a_client_with_state_of_version_1_shows_what_it_cost() -> None:
    with new_client() as client:
        shutil.copytree(VERSION_1, client.state_dir)
        rows = client.run("cost", "--json").json["instances"]
        assert sorted(row["job"] for row in rows) == ["box", "other", "third"]
        listed = client.run("status", "--cached", "--json")
        assert listed.code == 0, listed.err
        assert len([host for host in listed.json["hosts"] if host["instance"]]) == 2
