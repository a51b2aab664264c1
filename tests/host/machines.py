"""A machine to log in to, as a user has it: a name in ssh_config, a key, a host key on record."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.rigs.fakehost import FakeHost
from tests.support import Client


def new_machine(client: Client, name: str = "machine", *visible: Path, **options: Any) -> FakeHost:
    """A machine, still off, that can read the client's files, this Python and `visible`."""
    folders = (client.home, Path(sys.prefix), Path(sys.base_prefix), Path(client.python).parents[1], *visible)
    return FakeHost(client.home / name, visible=folders, **options)


def plant_python(client: Client, machine: FakeHost) -> None:
    """Makes the client's Python, which has PyTorch, the machine's `python3`."""
    machine.plant("python3", f'#!/bin/sh\nexec {client.python} "$@"\n')


def log_in_to(
    client: Client, machine: FakeHost, more: str = "", known: bool = True, name: str = "gpu"
) -> None:
    """Writes the user's ssh_config; `more` are further lines of it."""
    config = client.home / "ssh_config"
    known_hosts = client.home / "user_known_hosts"
    text = machine.ssh_config(name) + more + f"  UserKnownHostsFile {known_hosts}\n"
    config.write_text((config.read_text() if config.exists() else "") + text)
    if known:
        with known_hosts.open("a") as lines:
            lines.write(machine.known_hosts_line() + "\n")
    client.env["GPUJOB_SSH_CONFIG"] = str(config)
