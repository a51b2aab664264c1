"""SSH hosts as a user configures them: a name in ssh_config, a key, a recorded host key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.rigs.fakehost import FakeHost
from tests.support import Client


def new_machine(client: Client, name: str = "machine", *visible: Path, **options: Any) -> FakeHost:
    """Return a machine, not started, that can read the client's files, this Python and `visible`."""
    folders = (client.home, Path(sys.prefix), Path(sys.base_prefix), Path(client.python).parents[1], *visible)
    return FakeHost(client.home / name, visible=folders, **options)


def plant_python(client: Client, machine: FakeHost) -> None:
    """Make the client's Python, which has PyTorch, the machine's `python3`."""
    machine.plant("python3", f'#!/bin/sh\nexec {client.python} "$@"\n')


def log_in_to(
    client: Client, machine: FakeHost, more: str = "", known: bool = True, name: str = "gpu"
) -> None:
    """Write the user's ssh_config and append the lines `more`."""
    config = client.home / "ssh_config"
    known_hosts = client.home / "user_known_hosts"
    text = machine.ssh_config(name) + more + f"  UserKnownHostsFile {known_hosts}\n"
    config.write_text((config.read_text() if config.exists() else "") + text)
    if known:
        with known_hosts.open("a") as lines:
            lines.write(machine.known_hosts_line() + "\n")
    client.env["GPUJOB_SSH_CONFIG"] = str(config)
