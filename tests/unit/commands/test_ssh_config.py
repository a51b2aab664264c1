"""Instances as entries of an SSH configuration, read by OpenSSH itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Instance
from tests.support import Client, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client


def record(client: Client, id_: str, **fields: object) -> None:
    given = {"job": "slowfast", "address": "203.0.113.7", **fields}
    Account(client.context()).records.save(Instance(id=id_, region="us-east-1", launched=1.0, **given))


def resolved(client: Client, name: str) -> dict[str, str]:
    """What OpenSSH makes of a name with this configuration."""
    config = client.write("conf", client.run("hosts", "ssh-config").out)
    words = ["ssh", "-G", "-F", str(config), name]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in shown.splitlines())


@pytest.mark.parametrize("name", ["gpujob-slowfast", "i-0123"])
def test_ssh_reaches_an_instance_by_its_job_or_id(client: Client, name: str) -> None:
    record(client, "i-0123")
    settings = resolved(client, name)
    assert (settings["hostname"], settings["user"]) == ("203.0.113.7", "ubuntu")
    assert settings["hostkeyalias"] == "i-0123"
    assert settings["stricthostkeychecking"] in ("true", "yes")
    assert settings["identitiesonly"] == "yes"
    assert settings["identityfile"].endswith("ec2_ed25519")
    assert settings["userknownhostsfile"].endswith("known_hosts")


def test_a_path_with_spaces_and_percent_signs_names_that_file(client: Client) -> None:
    record(client, "i-0123")
    settings = client.home / "a b%h" / "settings.yaml"
    lines = client.run("hosts", "ssh-config", config_file=settings).out.splitlines()
    files = [line.split(None, 1)[1] for line in lines if "File" in line]
    folder = str(settings.parent).replace("%", "%%")
    assert files == [f'"{folder}/ec2_ed25519"', f'"{folder}/known_hosts"']
    assert (settings.parent / "ec2_ed25519").exists()


def test_only_instances_that_can_be_reached_are_printed(client: Client) -> None:
    record(client, "i-1", address=None)
    record(client, "i-2", state="terminated")
    record(client, "i-3", managed=False)
    result = client.run("hosts", "ssh-config")
    assert (result.code, result.out) == (0, "")
    assert "no instance with an address" in result.err


def test_two_instances_of_one_job_have_names_of_their_own(client: Client) -> None:
    record(client, "i-1")
    record(client, "i-2", address="203.0.113.8")
    hosts = client.run("hosts", "ssh-config", "--json").json["hosts"]
    assert {one["host"] for one in hosts} == {"gpujob-i-1", "gpujob-i-2"}
