"""Terminating instances: results are fetched first, unless the user declines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from orchestrator.commands import hosts
from orchestrator.errors import GpujobError
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
