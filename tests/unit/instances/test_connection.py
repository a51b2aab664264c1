"""The lease of an instance, while a command uses it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.instances.cloud import Account
from orchestrator.instances.connection import LEASE_SECONDS, InstanceHost
from orchestrator.instances.instance import Instance
from tests.support import Client, ScriptedHost, new_client

RUN = "job-20261121T101112-1a2b"


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client


def connected(client: Client, **answers: Any) -> InstanceHost:
    """A host whose helper answers from a script."""
    account = Account(client.context())
    fields = {"usd_per_hour": 1.0, "address": "127.0.0.1", "first_host_key": "ssh-ed25519 AAAA"}
    host = InstanceHost(
        account, account.records.save(Instance(id="i-1", region="us-east-1", launched=1.0, **fields))
    )
    host.ask = ScriptedHost({"renew_lease": {}, **answers}).ask  # type: ignore[method-assign]
    return host


def test_the_lease_is_renewed_between_requests_and_during_them(client: Client) -> None:
    host = connected(client)
    with host.keep_awake():
        assert host.lease == LEASE_SECONDS
    assert host.lease is None


def test_a_host_that_is_no_instance_needs_no_lease() -> None:
    host = ScriptedHost({})
    with host.keep_awake():
        assert host.lease is None
    assert not host.extend_lease(60.0)
    assert host.requests == []


def test_a_budget_becomes_the_hours_that_it_pays_for(client: Client) -> None:
    assert connected(client).hours_for(10) == pytest.approx(10 / 1.005)


@pytest.mark.parametrize(("runs", "may_end"), [([RUN], True), ([RUN, "other"], False)])
def test_an_instance_ends_with_its_run_unless_it_has_others(
    client: Client, runs: list[str], may_end: bool
) -> None:
    host = connected(client, status={"runs": [{"id": run} for run in runs]})
    assert not host.may_end_with(RUN)
    host.assign_run(RUN)
    assert host.may_end_with(RUN) is may_end
