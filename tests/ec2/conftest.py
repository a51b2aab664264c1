"""An AWS account that holds nothing, on this machine; see tests/rigs/ec2."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ec2 import user
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client


@pytest.fixture(scope="session")
def _rig() -> Iterator[FakeEC2]:
    """One for all tests of this process: it takes a second to start, and a tenth to be emptied."""
    with FakeEC2() as rig:
        yield rig


@pytest.fixture
def ec2(_rig: FakeEC2, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEC2]:
    """Plain machines, up in 0.1 s. `ec2.set(kind="booted")`: with systemd and cloud-init, in 1.5 s."""
    for name, value in _rig.env.items():
        monkeypatch.setenv(name, value)
    yield _rig
    _rig.reset()


@pytest.fixture
def booted(ec2: FakeEC2) -> FakeEC2:
    """Machines with systemd and cloud-init, which come up and stop at once."""
    ec2.set(kind="booted", pending=0.05, stopping=0.05)
    return ec2


@pytest.fixture
def client(ec2: FakeEC2, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A user whose commands share what is slow to make."""
    user.share_clients(monkeypatch, ec2)
    user.knock_briefly(monkeypatch)
    with user.new_user(ec2) as client:
        yield client


@pytest.fixture
def realtime_client(ec2: FakeEC2) -> Iterator[Client]:
    """A user whose commands go the whole way, in real time."""
    with user.new_user(ec2) as client:
        yield client
