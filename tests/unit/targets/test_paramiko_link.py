"""How a connection of paramiko is set up once it is authenticated."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import cast

import fabric

from orchestrator.targets.ssh import paramiko_link


def test_a_connection_on_which_nothing_comes_seldom_wakes() -> None:
    """paramiko's own is 0.1 seconds, for each connection of a command that waits for many hosts."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = SimpleNamespace(sock=ours, set_keepalive=lambda seconds: None)
        paramiko_link._harden(cast("fabric.Connection", SimpleNamespace(transport=transport)))
        assert (ours.gettimeout() or 0) >= 1
