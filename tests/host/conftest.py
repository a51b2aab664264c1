"""A client for real runs: a real tmux on a private socket, a real supervisor, real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.host.chaos import Line
from tests.host.machines import new_machine
from tests.rigs.fakehost import FakeHost
from tests.rigs.faultproxy import FaultProxy
from tests.support import Client, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client


@pytest.fixture
def machine(client: Client) -> Iterator[FakeHost]:
    """A host behind a real sshd; the client has not logged in to it yet (machines.log_in_to)."""
    with new_machine(client) as machine:
        yield machine


@pytest.fixture
def line(client: Client, machine: FakeHost) -> Iterator[Line]:
    """A host whose connection can be slowed, stalled and cut; the client has logged in."""
    with FaultProxy(machine.address) as proxy:
        line = Line(client, machine, proxy)
        line.log_in()
        yield line
