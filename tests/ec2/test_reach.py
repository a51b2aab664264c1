"""An instance within reach: its environments, and plain ssh and scp by the entries that gpujob prints."""

from __future__ import annotations

import json
import subprocess

import pytest

from orchestrator.core import runfacts
from orchestrator.store import CachedRun, Store
from tests.ec2 import user
from tests.ec2.user import UP, api
from tests.rigs import environments, s3
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client, tiny_wheel

pytestmark = pytest.mark.sshd


def test_an_instance_keeps_environments_and_is_reached_by_ssh_and_scp(ec2: FakeEC2, client: Client) -> None:
    wheels = tiny_wheel(client.home / "wheels", "tiny", "1.0")
    ec2.set(visible=[*ec2.settings.visible, str(wheels)])
    assert user.run(client, *UP).code == 0
    instance = user.only(client)
    label = instance.label
    environments.pip_settings(ec2.disk(instance.id) / "home/ubuntu", wheels)
    client.write("requirements.txt", f"--no-index\n--find-links {wheels}\ntiny\n")
    client.write("pyproject.toml", '[project]\nname = "job"\nversion = "1"\ndependencies = ["tiny==1.0"]\n')
    environments.require_made_once_and_changed_by_content(client, label, "requirements.txt", "pyproject.toml")

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


def test_a_run_is_fetched_from_s3_after_its_instance_was_terminated(
    ec2: FakeEC2, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert user.run(client, *UP).code == 0
    instance, run = user.only(client), "job-20261121T101112-1a2b"
    record = {"v": 1, "id": run, "job": "job", "s3": {"mirror": f"s3://{s3.BUCKET}/runs"}}
    facts = runfacts.parse_run({"id": run, "run": record})
    assert facts
    Store(client.state_dir).save_run(CachedRun(instance.label, user.Clock().now(), facts))
    api("us-east-1").terminate_instances(InstanceIds=[instance.id])
    ec2.until(lambda: ec2.states()[instance.id] == "terminated")
    with s3.running() as bucket:
        for name, value in {**s3.environment(bucket), "AWS_ENDPOINT_URL_S3": bucket.endpoint}.items():
            if name not in ec2.env:
                monkeypatch.setenv(name, value)
                client.env[name] = value
        bucket.put(f"runs/{run}/run.json", json.dumps(record))
        bucket.put(f"runs/{run}/outputs/table.csv", "a,b")
        gone = user.run(client, "fetch", run)
        assert (gone.code, f"next: gpujob fetch {run} --from s3" in gone.err) == (3, True), gone.err
        fetched = user.run(client, "fetch", run, "--from", "s3")
    assert fetched.code == 0, fetched.err
    assert (client.project / "fetched" / run / "outputs" / "table.csv").read_text() == "a,b"
