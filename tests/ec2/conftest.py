"""Fixtures: an empty simulated AWS account on this machine (tests/rigs/ec2) and its users."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ec2 import user
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client


@pytest.fixture(scope="session")
def _rig() -> Iterator[FakeEC2]:
    """One simulation for all tests of this process: it starts in 1 s and is reset in 0.1 s."""
    with FakeEC2() as rig:
        yield rig


@pytest.fixture
def ec2(_rig: FakeEC2, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEC2]:
    """An empty account whose machines start in 0.1 s; `ec2.set(kind="booted")`: with systemd, in 1.5 s."""
    for name, value in _rig.env.items():
        monkeypatch.setenv(name, value)
    yield _rig
    _rig.reset()


@pytest.fixture
def booted(ec2: FakeEC2) -> FakeEC2:
    """An empty account of machines with systemd and cloud-init, started and stopped without EC2's delays."""
    ec2.set(kind="booted", pending=0.05, stopping=0.05)
    return ec2


@pytest.fixture
def client(ec2: FakeEC2, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client whose commands share AWS clients, which are slow to create, and whose waits are short."""
    user.share_clients(monkeypatch, ec2)
    user.knock_briefly(monkeypatch)
    with user.new_user(ec2) as client:
        yield client


@pytest.fixture
def realtime_client(ec2: FakeEC2) -> Iterator[Client]:
    """A client whose commands wait in real time and share nothing."""
    with user.new_user(ec2) as client:
        yield client
