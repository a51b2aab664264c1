"""An AWS account that holds nothing, on this machine; see tests/rigs/ec2."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rigs.ec2.client import FakeEC2


@pytest.fixture(scope="session")
def _rig() -> Iterator[FakeEC2]:
    """One for all tests of this process: it takes a second to start, and a tenth to be emptied."""
    FakeEC2.require()
    with FakeEC2() as rig:
        yield rig


@pytest.fixture
def ec2(_rig: FakeEC2, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEC2]:
    """Plain machines, up in 0.1 s. `ec2.set(kind="booted")`: with systemd and cloud-init, in 1.5 s."""
    for name, value in _rig.env.items():
        monkeypatch.setenv(name, value)
    yield _rig
    _rig.reset()
