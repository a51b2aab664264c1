"""What gpujob left in an account is found by tag, priced, and ended only where that is safe."""

from __future__ import annotations

import io
import types
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.core import runfacts
from orchestrator.errors import Unreachable
from orchestrator.instances import connection, launch, lifecycle
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Instance
from orchestrator.instances.records import LaunchAttempt, SentRequest
from orchestrator.instances.spec import Candidate, LaunchSpec
from orchestrator.targets import helper
from tests.support import Client, Result, new_client
from tests.unit.instances.fake_account import FakeAccount, tags

NOW = 1_000_000.0
PAST, FUTURE = str(int(NOW) - 60), str(int(NOW) + 3600)


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> FakeAccount:
    return FakeAccount(monkeypatch)


def run(client: Client, *words: str) -> Result:
    return client.run(*words, now=lambda: NOW, sleep=lambda seconds: None)


def orphans(client: Client, *words: str) -> tuple[Result, dict[str, Any]]:
    """`hosts orphans` in one region; its rows by id."""
    result = run(client, "hosts", "orphans", "--region", "us-east-1", "--json", *words)
    return result, {row["id"]: row for row in result.json["orphans"]}


def me(client: Client, **more: str) -> dict[str, str]:
    ctx = client.context()
    return {"user": ctx.who, "client": Account(ctx).records.client_id(ctx), **more}


def kept(client: Client, aws: FakeAccount, run_id: str | None = "job-20261121T101112-1a2b") -> Instance:
    """The record of a spot instance that has ended, whose data volume still exists."""
    volume = aws.volume("vol-1", **me(client, expires=PAST))
    record = Instance(
        id="i-1",
        region="us-east-1",
        launched=NOW - 7200,
        type="g5.xlarge",
        spot=True,
        state="terminated",
        ended=NOW - 3600 * 24 * 30,
        run=run_id,
        volume=volume,
        volume_gb=100,
        usd_per_hour=1.0,
    )
    return Account(client.context()).records.save(record)


def test_the_volume_of_an_ended_instance_is_listed_and_priced(client: Client, aws: FakeAccount) -> None:
    kept(client, aws)
    listed = run(client, "hosts", "list")
    assert "volume vol-1 $8.00 a month" in listed.out
    cost = run(client, "cost", "--json").json["instances"]
    assert cost[0]["cost_usd"] == pytest.approx(8.0 * 30 * 24 / 730, abs=0.01)
    result, rows = orphans(client)
    assert (result.code, rows["vol-1"]["usd_per_month"]) == (1, 8.0)
    assert "left by ec2://i-1" in rows["vol-1"]["why"]


def test_a_volume_with_a_run_that_is_not_fetched_is_never_swept(client: Client, aws: FakeAccount) -> None:
    kept(client, aws)
    result, _ = orphans(client, "--end", "--yes")
    assert (result.code, list(aws.volumes)) == (1, ["vol-1"])
    assert "hosts down ec2://i-1 --purge" in result.err
    purged = run(client, "hosts", "down", "ec2://i-1", "--purge", "--yes")
    assert (purged.code, aws.volumes) == (0, {}), purged.err
    assert orphans(client)[0].code == 0
    (cost,) = run(client, "cost", "--json").json["instances"]
    assert cost["cost_usd"] == pytest.approx(7.89, abs=0.01)  # what the volume cost until it was deleted


def test_a_volume_that_two_records_name_is_counted_once_and_kept(client: Client, aws: FakeAccount) -> None:
    """A client was killed between the launch of an instance for a volume and the record of that."""
    former = kept(client, aws)
    heir = replace(
        former, id="i-2", run=None, launched=NOW - 3600, ended=NOW - 1800, volume_to_attach="vol-1"
    )
    records = Account(client.context()).records
    records.save(replace(former, ended=NOW - 5400, usd_per_hour=0.0))
    records.save(replace(heir, usd_per_hour=0.0))
    costs = {row["label"]: row["cost_usd"] for row in run(client, "cost", "--json").json["instances"]}
    hour = 8.0 / 730
    assert costs == pytest.approx({"ec2://i-1": hour / 2, "ec2://i-2": hour / 2}, abs=1e-4)
    swept = run(client, "hosts", "orphans", "--end", "--yes")
    assert (f"it holds {former.run}" in swept.err, list(aws.volumes)) == (True, ["vol-1"])


def test_an_instance_launched_for_a_volume_has_the_run_of_its_record(
    client: Client, aws: FakeAccount
) -> None:
    """Else a sweep would delete the volume if the client is killed before it assigns the run."""
    former = kept(client, aws)
    wanted = LaunchSpec(
        types=(), regions=(), spot=False, deadline=NOW, job="job", owner="o", volume="vol-1", volume_gb=100
    )
    parameters = {"NetworkInterfaces": [{"Groups": ["sg-1"]}], "BlockDeviceMappings": []}
    sent = SentRequest(Candidate("us-east-1", "us-east-1a", "t3.small", False), parameters, NOW)
    attempt = LaunchAttempt(id="a", created=NOW, spec=wanted, user_data="", first_host_key="", request=sent)
    aws.instance("i-2")
    account = Account(client.context())
    described = lifecycle.describe(account, "us-east-1", "i-2")
    assert described
    assert launch.new_record(account, attempt, described, "us-east-1").run == former.run


def test_a_volume_that_was_deleted_elsewhere_is_not_listed(client: Client, aws: FakeAccount) -> None:
    kept(client, aws)
    aws.volumes.clear()
    assert "vol-1" not in run(client, "hosts", "list").out
    assert "vol-1" not in run(client, "hosts", "list", "--cached").out


def test_only_an_overdue_instance_is_ended_by_a_sweep(client: Client, aws: FakeAccount) -> None:
    aws.instance("i-late", **me(client, expires=PAST))
    aws.instance("i-going", **me(client, expires=FUTURE))
    aws.instance("i-other", user=client.context().who, client="0" * 16, expires=FUTURE)
    aws.instance("i-bob", user="bob@desk", expires=PAST)
    result, rows = orphans(client, "--end", "--yes")
    states = {id_: one["State"]["Name"] for id_, one in aws.instances.items()}
    assert states == {"i-late": "terminated", "i-going": "running", "i-other": "running", "i-bob": "running"}
    assert result.code == 1
    assert "i-bob is kept: it is of bob@desk" in result.err
    assert "i-other is kept: it is of another client" in result.err
    assert "gpujob hosts down ec2://i-" in result.err
    assert rows["i-other"]["usd_per_month"] == pytest.approx((1.006 + 0.005) * 730, abs=0.01)
    assert "i-going" not in rows  # it is of this client, and on record again
    assert "i-going" in run(client, "hosts", "list").out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_instance_and_volume_is_confirmed_on_its_own(client: Client, aws: FakeAccount) -> None:
    aws.instance("i-1", **me(client, expires=PAST))
    aws.volume("vol-1", job="faces", **me(client, expires=PAST))
    words = ("hosts", "orphans", "--end")
    answers, shown = Terminal("n\ny\n"), Terminal()
    client.run(*words, now=lambda: NOW, sleep=lambda seconds: None, stdin=answers, stderr=shown)
    assert shown.getvalue().count("Continue?") == 2
    for question in ("deleting instance i-1 in us-east-1", "deleting volume vol-1", "of job faces"):
        assert question in shown.getvalue()
    assert "i-1 is kept: the answer was no" in shown.getvalue()
    assert (aws.instances["i-1"]["State"]["Name"], list(aws.volumes)) == ("running", [])


def test_a_volume_of_another_client_is_not_deleted_by_yes(client: Client, aws: FakeAccount) -> None:
    """Its run may not be fetched yet, which only the records of that client say."""
    aws.volume("vol-1", user=client.context().who, client="0" * 16, expires=PAST)
    result, _ = orphans(client, "--end", "--yes")
    assert (result.code, list(aws.volumes)) == (1, ["vol-1"])
    assert "vol-1 is kept: it may hold a run of another client" in result.err
    shown = Terminal()
    words, question = ("hosts", "orphans", "--end"), {"stdin": Terminal("y\n"), "stderr": shown}
    client.run(*words, now=lambda: NOW, sleep=lambda seconds: None, **question)
    assert "whose runs are not known here" in shown.getvalue()
    assert aws.volumes == {}


@pytest.mark.parametrize("does_answer", [True, False])
def test_an_overdue_instance_is_asked_what_runs_before_it_ends(
    client: Client, aws: FakeAccount, monkeypatch: pytest.MonkeyPatch, does_answer: bool
) -> None:
    aws.instance("i-1", **me(client, expires=PAST))
    run_id = "job-20261121T101112-1a2b"
    active = runfacts.parse_run({"id": run_id, "state": {"started": 1.0}, "supervised": True})

    def connect(account: Account, instance: Instance) -> Any:
        if not does_answer:
            raise Unreachable("ec2://i-1 cannot be reached", "port 22 does not answer", "")
        return types.SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(connection, "connect", connect)
    monkeypatch.setattr(helper, "snapshot", lambda host, lines=0: types.SimpleNamespace(runs=(active,)))
    result, _ = orphans(client, "--end", "--yes")
    state = aws.instances["i-1"]["State"]["Name"]
    if does_answer:
        assert (result.code, state) == (1, "running")
        assert f"i-1 is kept: it has {run_id}" in result.err
    else:
        assert (result.code, state) == (0, "terminated")
        assert "what runs on it is not known (ec2://i-1 cannot be reached)" in result.err


@pytest.mark.parametrize(
    "deadline", ["forever", "", "nan", "inf", "-5", "1e400", "9" * 40, "\x1b]52;c;x\x07"]
)
def test_a_damaged_deadline_is_shown_and_never_counts_as_overdue(
    client: Client, aws: FakeAccount, deadline: str
) -> None:
    aws.instance("i-1", **me(client, expires=deadline))
    aws.volume("vol-1", **me(client, expires=deadline))
    result, rows = orphans(client, "--end", "--yes")
    assert result.code == 1, result.err
    assert {row["late"] for row in rows.values()} == {False}
    assert all("deadline is damaged" in row["why"] for row in rows.values())
    assert (aws.instances["i-1"]["State"]["Name"], list(aws.volumes)) == ("running", ["vol-1"])
    assert run(client, "hosts", "down", "ec2://i-1", "--discard", "--yes").code == 0


def test_requests_interfaces_and_unused_groups_are_found(client: Client, aws: FakeAccount) -> None:
    mine = tags(**me(client))
    aws.others["SpotInstanceRequests"] = [{"SpotInstanceRequestId": "sir-1", "State": "open", "Tags": mine}]
    aws.others["NetworkInterfaces"] = [
        {"NetworkInterfaceId": "eni-1", "Status": "available", "TagSet": mine, "Groups": []},
        {"NetworkInterfaceId": "eni-2", "Status": "in-use", "TagSet": mine, "Groups": [{"GroupId": "sg-2"}]},
    ]
    aws.others["SecurityGroups"] = [{"GroupId": id_, "Tags": mine} for id_ in ("sg-1", "sg-2")]
    _, rows = orphans(client)
    assert {row["kind"]: id_ for id_, row in rows.items()} == {
        "request": "sir-1",
        "interface": "eni-1",
        "group": "sg-1",
    }


def test_a_region_that_may_not_be_searched_is_named_and_skipped(client: Client, aws: FakeAccount) -> None:
    aws.denied = ("eu-west-1",)
    aws.instance("i-1", **me(client, expires=PAST))
    result = run(client, "hosts", "orphans", "--region", "eu-west-1", "--region", "us-east-1")
    assert (result.code, "i-1" in result.out) == (1, True)
    assert "eu-west-1 is skipped" in result.err


def test_an_instance_is_found_by_its_tags_after_the_state_was_lost(client: Client, aws: FakeAccount) -> None:
    client.env["GPUJOB_TARGET"] = "ec2"
    aws.instance("i-1", state="stopped", volume="vol-1", user=client.context().who, expires=FUTURE, job="a")
    aws.instance("i-2", state="stopped", user="bob@desk", expires=FUTURE)
    aws.volume("vol-1", "in-use", 100, on="i-1")
    aws.volume("vol-0", "in-use", 60, on="i-1")
    (row,) = run(client, "hosts", "list", "--json").json["instances"]
    assert (row["id"], row["state"], row["volume"]) == ("i-1", "stopped", "vol-1")
    (record,) = Account(client.context()).records.all()
    assert (record.disk_gb, record.volume_gb, record.deadline) == (160, 100, float(FUTURE))
    assert record.usd_per_hour == 1.006
