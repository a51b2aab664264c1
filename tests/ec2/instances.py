"""Instances launched with gpujob's user-data, and logins with the host key that it sets."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator import files
from orchestrator.instances.boot import READY, UserData
from orchestrator.targets import helper_host
from tests.ec2.test_rig import admit, aws, banner, launch
from tests.rigs import patience
from tests.rigs.ec2.fake import FakeEC2
from tests.rigs.keys import make_key, public_key

TEMPLATE = (files.folder("templates") / "cloud-init.yaml").read_text("utf-8")
PATIENCE = 28  # seconds that an instance waits for a hanging process before it powers off by force
FAILING = ["false", ["sh", "-c", "exit 7"], "this-does-not-exist --at-all"]


@dataclass
class Keys:
    """The user's key pair, and the host key that is part of the user-data."""

    user: Path
    host: Path

    @classmethod
    def made(cls, folder: Path) -> Keys:
        return cls(make_key(folder / "user"), make_key(folder / "host"))


@dataclass
class RunningInstance:
    ec2: FakeEC2
    keys: Keys
    id: str
    due: float = 0.0  # epoch seconds: the end of its deadline or lease, whichever is first

    @property
    def ip(self) -> str:
        return str(self.ec2.machines()[self.id]["ip"])

    def run(self, *words: str, **more: Any) -> str:
        """Run a command on the instance as root, without its network; fail with the output."""
        code, output = self.ec2.run(self.id, *words, **more)
        assert code == 0, output
        return output

    def has(self, path: str) -> bool:
        machine = self.ec2.machines()[self.id]
        return bool(machine["on"]) and self.ec2.run(self.id, "test", "-e", path)[0] == 0

    def ready(self) -> RunningInstance:
        """Wait until the instance is ready and accepts logins, which systemd can delay on a busy machine."""
        open_to_all = lambda: self.has(READY) and not self.has("/run/nologin")  # noqa: E731
        self.ec2.until(open_to_all, "the instance is ready and admits users")
        return self

    def end_lease(self, in_seconds: int = 0) -> float:
        """Set the lease to end now, as if it had not been renewed; return the time of its end."""
        lease, until = "/run/gpujob/lease", int(time.time()) + in_seconds
        self.run("sh", "-c", f"echo {until} >{lease}.new && mv {lease}.new {lease}")
        return until

    def ssh(self, *words: str, known: str | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command over SSH; trusts the host key `known` (TYPE BASE64) or that of the user-data."""
        hosts = self.keys.user.with_name(f"known-{self.id}")
        hosts.write_text(f"{self.ip} {known or public_key(self.keys.host)}\n")
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "GlobalKnownHostsFile": "/dev/null",
            "UserKnownHostsFile": str(hosts),
            "IdentitiesOnly": "yes",
            "ConnectTimeout": "5",
            "KexAlgorithms": "curve25519-sha256",  # the default of OpenSSH 9.x takes 0.1 s more
        }
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        line = ["ssh", "-F", "/dev/null", "-i", str(self.keys.user), *flags, f"ubuntu@{self.ip}", *words]
        return subprocess.run(
            line, input=stdin, capture_output=True, text=True, timeout=patience.PATIENCE, check=False
        )

    def ask(self, op: str, **fields: Any) -> Any:
        """Copy the helper to the instance and return its answer to a request."""
        place = self.ec2.disk(self.id) / "opt/gpujob-onhost"
        if not place.exists():
            shutil.copytree(helper_host.install(self.keys.user.parent), place)
            for path in (place, *place.rglob("*")):  # it is private to its owner, here to root
                path.chmod(0o755 if path.is_dir() else 0o644)
        question = json.dumps({"id": 1, "op": op, **fields}) + "\n"
        result = self.ssh("python3 -I /opt/gpujob-onhost helper '~/.gpujob'", stdin=question)
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        assert answers, result.stderr
        assert "answer" in answers[-1], answers
        return answers[-1]["answer"]

    def admit(self) -> None:
        admit(self.id)
        self.ec2.until(lambda: banner(self.ip), what="sshd answers")

    def cut_power(self) -> None:
        aws().stop_instances(InstanceIds=[self.id])
        self.ec2.until(lambda: self.ec2.states()[self.id] == "stopped")

    def power_on(self) -> None:
        aws().start_instances(InstanceIds=[self.id])
        self.ec2.until(lambda: self.ec2.machines()[self.id]["on"])


def build_user_data(
    keys: Keys, runcmd: list[Any] | None = None, patience: int = PATIENCE, **values: Any
) -> str:
    """Return user-data with a deadline in `lives` seconds and `runcmd` instead of gpujob's; see PATIENCE."""
    given = {
        "user": "ubuntu",
        "authorized_key": public_key(keys.user),
        "host_private": keys.host.read_text(),
        "host_public": public_key(keys.host),
        "deadline": int(time.time() + values.pop("lives", 3600)),
        "boot_grace": 3600,
    }
    assert TEMPLATE.count(f"sleep {PATIENCE}\n") == 1
    text = UserData(**{**given, **values}).render(TEMPLATE)
    text = text.replace(f"sleep {PATIENCE}\n", f"sleep {patience}\n")
    if runcmd is None:
        return text
    return "#cloud-config\n" + yaml.safe_dump({**yaml.safe_load(text), "runcmd": runcmd}, width=10**6)


def start(ec2: FakeEC2, keys: Keys, launched: dict[str, Any] | None = None, **values: Any) -> RunningInstance:
    """Launch an instance and wait for its machine; `values` set its user-data, `launched` RunInstances."""
    due = time.time() + min(values.get("lives", 3600), values.get("boot_grace", 3600))
    instance = launch(UserData=build_user_data(keys, **values), **(launched or {}))
    ec2.until(lambda: ec2.machines()[instance]["on"])
    return RunningInstance(ec2, keys, instance, due)
