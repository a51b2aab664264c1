"""A client for real runs: a real tmux on a private socket, a real supervisor, real processes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.chaos import Line
from tests.rigs import needs
from tests.rigs.fakehost import FakeHost
from tests.rigs.faultproxy import FaultProxy
from tests.support import Client, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    if shutil.which("tmux") is None:
        if sys.platform == "linux" and os.getuid() == 0:
            pytest.fail("tmux is missing; the set-up (scripts/system.sh) installs it")
        pytest.skip("tmux is not installed")
    with new_client() as client:
        yield client


@pytest.fixture
def line(client: Client) -> Iterator[Line]:
    needs.require("sshd", "rsync")
    visible = (client.home, Path(sys.prefix), Path(sys.base_prefix))
    with (
        FakeHost(client.home / "machine", visible=visible) as machine,
        FaultProxy(machine.address) as proxy,
    ):
        line = Line(client, machine, proxy)
        line.log_in()
        yield line
