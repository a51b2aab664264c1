"""A client for real runs: a real tmux on a private socket, a real supervisor, real processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.host.chaos import Line
from tests.host.machines import new_machine
from tests.rigs.fakehost import FakeHost
from tests.rigs.faultproxy import FaultProxy
from tests.rigs.torchpython import environment as torchpython
from tests.support import Client, new_client


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client with an empty home. In tests marked `torch`, trainings are forked (rigs/torchpython)."""
    forked = request.node.get_closest_marker("torch") and not request.node.get_closest_marker("fresh")
    with new_client(torchpython.shared().python if forked else sys.executable) as client:
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
