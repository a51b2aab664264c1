"""Terminating instances: results are fetched first, unless the user declines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from orchestrator.commands import hosts
from orchestrator.errors import GpujobError, WantsYes
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Instance
from orchestrator.instances.target import Ec2Target
from orchestrator.targets.base import Host
from tests.support import Client, ScriptedHost, new_client

LABEL = "ec2://i-1"
RUN = "job-20261121T101112-1a2b"
ENDED = {"ended": 1.0, "reason": "exit", "exit_code": 0}
SEEN = {"id": RUN, "state": ENDED, "supervised": False, "pids": [], "events": [], "run": {}}


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


@pytest.fixture
def stopped(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A recorded instance that its deadline has stopped, and the list of actions on it."""
    record = Instance(id="i-1", region="us-east-1", launched=1.0, type="g5.xlarge", state="stopped")
    Account(client.context()).records.save(record)
    actions: list[str] = []

    def terminate(_account: Account, instance: Instance, with_volume: bool) -> Instance:
        actions.append("terminate with its volume" if with_volume else "terminate")
        return replace(instance, state="terminated")

    monkeypatch.setattr(hosts.lifecycle, "refresh", lambda _account, instance: instance)
    monkeypatch.setattr(hosts.changes, "terminate", terminate)
    return actions


def with_outputs(left_out: list[str]) -> ScriptedHost:
    summary = {"left_out": left_out, "missing": [], "no_room": []}
    staged = {"token": "t", "folder": "/stage", "files": [], **summary}
    return ScriptedHost({"status": {"runs": [SEEN]}, "stage": staged, "unstage": {}})


def start_with(monkeypatch: pytest.MonkeyPatch, host: ScriptedHost, actions: list[str]) -> None:
    @contextlib.contextmanager
    def connect_started(_target: Ec2Target) -> Iterator[Host]:
        actions.append("start")
        yield host

    monkeypatch.setattr(Ec2Target, "connect_started", connect_started)


def test_a_stopped_instance_is_started_and_fetched_before_its_end(
    client: Client, stopped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_with(monkeypatch, with_outputs([]), stopped)
    assert hosts.down(client.context(yes=True), LABEL, discard=False, purge=False) == 0
    assert stopped == ["start", "terminate"]


def test_an_instance_with_files_that_cannot_be_fetched_is_kept(
    client: Client, stopped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_with(monkeypatch, with_outputs(["outputs/link"]), stopped)
    with pytest.raises(GpujobError, match="is kept") as refused:
        hosts.down(client.context(yes=True), LABEL, discard=False, purge=False)
    assert "--discard" in str(refused.value.next_step)
    assert stopped == ["start"]


def test_with_discard_a_stopped_instance_is_terminated_as_it_is(client: Client, stopped: list[str]) -> None:
    assert hosts.down(client.context(yes=True), LABEL, discard=True, purge=False) == 0
    assert stopped == ["terminate"]


@pytest.mark.parametrize("spot", [True, False])
@pytest.mark.parametrize(
    ("discard", "purge", "action"),
    [
        (False, False, "terminate with its volume"),
        (True, False, "terminate"),
        (True, True, "terminate with its volume"),
    ],
)
def test_a_volume_that_was_not_fetched_is_deleted_only_with_purge(
    client: Client,
    stopped: list[str],
    monkeypatch: pytest.MonkeyPatch,
    spot: bool,
    discard: bool,
    purge: bool,
    action: str,
) -> None:
    records = Account(client.context()).records
    records.save(replace(records.get("i-1"), volume="vol-1", volume_gb=100, spot=spot))
    start_with(monkeypatch, with_outputs([]), stopped)
    ctx = client.context(yes=True)
    assert hosts.down(ctx, LABEL, discard=discard, purge=purge) == 0
    assert stopped[-1] == action
    assert "vol-1" in ctx.stderr.getvalue()


BOTH = "ec2://i-1,ec2://i-2"


@pytest.fixture
def group(client: Client, stopped: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Instances i-1 and i-2 of one run and i-3 of another, and the list of actions on them."""
    records = Account(client.context()).records
    one = replace(records.get("i-1"), state="running", group="g", usd_per_hour=1.0)
    for id_, name in (("i-1", "g"), ("i-2", "g"), ("i-3", "other")):
        records.save(replace(one, id=id_, group=name))

    def terminate(_account: Account, instance: Instance, with_volume: bool) -> Instance:
        stopped.append(f"terminate {instance.id}")
        return records.save(replace(instance, state="terminated", ended=2.0))

    monkeypatch.setattr(hosts.changes, "terminate", terminate)
    return stopped


def answering(monkeypatch: pytest.MonkeyPatch, actions: list[str], hosts_: dict[str, ScriptedHost]) -> None:
    @contextlib.contextmanager
    def connect_started(target: Ec2Target) -> Iterator[Host]:
        actions.append(f"fetch from {target.label.removeprefix('ec2://')}")
        yield hosts_[target.label]

    monkeypatch.setattr(Ec2Target, "connect_started", connect_started)


@pytest.mark.parametrize("word", [BOTH, "ec2://i-1", "ec2://i-2", "ec2://i-2,ec2://i-1,ec2://i-2"])
def test_all_instances_of_a_run_are_fetched_from_and_then_terminated(
    client: Client, group: list[str], monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    answering(monkeypatch, group, {f"ec2://i-{n}": with_outputs([]) for n in (1, 2)})
    assert hosts.down(client.context(yes=True), word, discard=False, purge=False) == 0
    assert sorted(group[:2]) == ["fetch from i-1", "fetch from i-2"]
    assert sorted(group[2:]) == ["terminate i-1", "terminate i-2"]


def test_one_question_names_all_instances_of_a_group(client: Client, group: list[str]) -> None:
    with pytest.raises(WantsYes) as asked:
        hosts.down(client.context(), BOTH, discard=True, purge=False)
    text = str(asked.value.what) + str(asked.value.why)
    assert ("ec2://i-1; its disk is deleted" in text, "ec2://i-2; its disk is deleted" in text) == (
        True,
        True,
    )
    assert "i-3" not in text
    assert group == []


def test_a_group_of_which_one_cannot_be_fetched_is_kept_as_a_whole(
    client: Client, group: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, group, {"ec2://i-1": with_outputs([]), "ec2://i-2": with_outputs(["outputs/x"])})
    with pytest.raises(GpujobError, match="is kept"):
        hosts.down(client.context(yes=True), BOTH, discard=False, purge=False)
    assert group == ["fetch from i-1", "fetch from i-2"]


@pytest.mark.parametrize("word", ["ec2://i-1,gpu1", "ec2://i-1,ec2://i-9"])
def test_a_group_with_another_host_terminates_nothing(client: Client, group: list[str], word: str) -> None:
    with pytest.raises(GpujobError):
        hosts.down(client.context(yes=True), word, discard=True, purge=False)
    assert group == []


def test_a_member_that_has_ended_does_not_keep_the_other(client: Client, group: list[str]) -> None:
    records = Account(client.context()).records
    records.save(replace(records.get("i-2"), state="terminated", ended=2.0))
    assert hosts.down(client.context(yes=True), BOTH, discard=True, purge=False) == 0
    assert group == ["terminate i-1"]
