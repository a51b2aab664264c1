"""A name after --on that nobody knows, and that is close to a known one, is not tried as a host."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.store import Store
from orchestrator.targets.ssh import address
from orchestrator.targets.ssh.address import Typed, parse_config
from tests.support import Client, new_client


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Knows the host gpubox of ssh_config, has used gpu-7, and has name servers that know gpubax alone."""
    with new_client() as new:
        new.env["GPUJOB_SSH_CONFIG"] = str(new.home / "ssh_config")
        (new.home / "ssh_config").write_text("Host gpubox *.lab\n  HostName 192.0.2.7\n")
        Store(new.context().state_dir).save_target("gpu-7", 1.0)

        def resolve(name: str, *_: Any) -> list[str]:
            if name != "gpubax":
                raise socket.gaierror(-2, "Name or service not known")
            return ["192.0.2.9"]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        yield new


def require(client: Client, name: str, hostname: str = "", more: str = "") -> None:
    config = f"hostname {hostname or name}\nuser me\nport 22\n{more}"
    address.require_plausible(client.context(), parse_config(Typed(name, name), config, "", None))


@pytest.mark.parametrize(
    ("name", "close"), [("locla", "local"), ("gpubx", "gpubox"), ("gpu7", "gpu-7"), ("ec22", "ec2")]
)
def test_a_slip_of_the_keys_leads_to_the_name_that_was_meant(client: Client, name: str, close: str) -> None:
    with pytest.raises(UsageError, match=f"--on {name}: there is no host of this name") as error:
        require(client, name)
    assert (error.value.why, error.value.next_step) == (
        f"did you mean {close}?",
        f"gpujob doctor --on {close}",
    )


def test_a_host_that_may_exist_is_tried(client: Client) -> None:
    require(client, "gpubox", "192.0.2.7")
    require(client, "gpubax")
    require(client, "node1.lab", "10.0.0.1")
    require(client, "gpu9", more="proxyjump gate\n")
    require(client, "elsewhere")


def test_commands_refuse_a_mistyped_target_without_a_connection(client: Client) -> None:
    result = client.run("stop", "x", "--on", "locla")
    assert (result.code, "did you mean local?" in result.err) == (2, True), result.err
