"""An instance within reach: its environments, and plain ssh and scp by the entries that gpujob prints."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.ec2 import user
from tests.ec2.user import UP
from tests.rigs import environments
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client, tiny_wheel

pytestmark = pytest.mark.sshd


def test_an_instance_keeps_environments_and_is_reached_by_ssh_and_scp(ec2: FakeEC2, client: Client) -> None:
    wheels = tiny_wheel(client.home / "wheels", "tiny", "1.0")
    ec2.set(visible=[*ec2.settings.visible, str(wheels)])
    assert user.run(client, *UP).code == 0
    options = f"--no-index\n--find-links {wheels}\n"
    client.write("requirements.txt", options + "tiny\n")
    client.write("other.txt", options + "tiny==1.0\n")
    label = user.only(client).label
    environments.require_made_once_and_changed_by_content(client, label, "requirements.txt", "other.txt")

    config = client.write("ssh.conf", client.run("hosts", "ssh-config").out)
    (host,) = client.run("hosts", "ssh-config", "--json").json["hosts"]
    file = client.write("a b ü.txt", "content\n")
    for name in (host["host"], host["id"]):
        for words in (
            ["scp", "-F", str(config), str(file), f"{name}:copied"],
            ["ssh", "-F", str(config), name, "cat copied; rm copied; ls .gpujob/runs"],
        ):
            done = subprocess.run(words, capture_output=True, text=True, env=client.env, check=False)
            assert done.returncode == 0, done.stderr
        first, *runs = done.stdout.splitlines()
        assert (first, len(runs)) == ("content", 3)
    assert json.loads(client.run("status", "job", "--json").out)["runs"]
