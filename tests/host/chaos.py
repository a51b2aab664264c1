"""A client and a host whose connection can be cut or stalled at any step of a command."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import json
import os
import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store import Store
from tests.rigs.fakehost import FakeHost
from tests.rigs.faultproxy import FaultProxy
from tests.rigs.patience import wait_until
from tests.support import Client, Result

ON = ("--on", "gpu")
Trials = Callable[[int, int], int]
BIG = 3 << 20
# Each of them is a step: a fault can come before it and after it.
STEPS = [
    ("orchestrator.targets.helper_host", "HelperHost", "ask"),
    ("orchestrator.targets.ssh.host", "SshHost", "_begin"),
    ("orchestrator.targets.ssh.rsync", "Rsync", "_once"),
    ("orchestrator.targets.ssh.paramiko_link", "ParamikoLink", "_connect"),
    ("orchestrator.files", "", "write_json"),
    ("orchestrator.store", "Store", "close_intent"),
    ("orchestrator.files", "", "sync"),
]


@dataclass
class Line:
    """A client, a host, and the fault proxy between them."""

    client: Client
    machine: FakeHost
    proxy: FaultProxy

    @property
    def root(self) -> Path:
        return self.machine.home / ".gpujob"

    def run(self, *words: str) -> Result:
        return self.client.run(*words, *ON)

    def arrived(self) -> set[Path]:
        """Return the code trees and data folders on the host that have their final name."""
        files = [*self.root.glob("code/*"), *self.root.glob("data/*/*")]
        return {path for path in files if not path.name.startswith(".")}

    def log_in(self, more: str = "") -> None:
        """Write the user's ssh_config; the host name resolves to the proxy."""
        known = self.client.home / "user_known_hosts"
        known.write_text(self.machine.known_hosts_line("machine") + "\n")
        text = self.machine.ssh_config("gpu", address=self.proxy.address)
        text += f"  HostKeyAlias machine\n  UserKnownHostsFile {known}\n{more}"
        (self.client.home / "ssh_config").write_text(text)
        self.client.env["GPUJOB_SSH_CONFIG"] = str(self.client.home / "ssh_config")


def around(real: Callable[..., Any], point: Callable[[], None]) -> Callable[..., Any]:
    def stepped(*words: Any, **more: Any) -> Any:
        point()
        files = real(*words, **more)
        point()
        return files

    return stepped


def watch(
    steps: list[tuple[str, str, str]],
    put: Callable[[Any, str, Any], None],
    point: Callable[[], None],
) -> None:
    """Call `point` before and after each step. Client processes run the source of this function too."""
    for module, owner, name in steps:
        where = importlib.import_module(module)
        where = getattr(where, owner) if owner else where
        put(where, name, around(getattr(where, name), point))


DIES_AT = """
from __future__ import annotations
import importlib, os, signal
from collections.abc import Callable
from typing import Any
{source}
count = 0
def point():
    global count
    count += 1
    if count == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
watch({steps}, setattr, point)
"""


def dies_at(at: int) -> str:
    source = inspect.getsource(around) + inspect.getsource(watch)
    return DIES_AT.format(source=source, at=at, steps=STEPS)


def counted(
    line: Line, *words: str, at: int = 0, fault: Callable[[], None] = lambda: None
) -> tuple[Result, int]:
    """Run the command here with `fault` at its Nth point; return its result and the number of points."""
    passed = [0]

    def point() -> None:
        passed[0] += 1
        if passed[0] == at:
            fault()

    with pytest.MonkeyPatch.context() as patch:
        watch(STEPS, patch.setattr, point)
        return line.run(*words), passed[0]


def require_no_helper(line: Line) -> None:
    """Wait until the helpers of a killed client have ended on the host."""
    root = str(line.root).encode()

    def helpers() -> list[list[bytes]]:
        commands = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                commands.append(path.read_bytes().split(b"\0"))
        return [words for words in commands if b"helper" in words and root in words]

    wait_until(lambda: not helpers(), f"the helper over {line.root} has ended")


def sample(total: int, few: int) -> list[int]:
    return sorted(random.Random(11).sample(range(1, total + 1), min(few, total)))


def stalled_for(proxy: FaultProxy, seconds: float) -> Callable[[], None]:
    def stall() -> None:
        proxy.stall()
        threading.Timer(seconds, proxy.resume).start()

    return stall


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files that have their final name, by relative path."""
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: content for name, content in files.items() if not name.startswith(".gpujob-part")}


def job(client: Client, name: str) -> list[dict[str, bytes]]:
    """Write a job with its own code and data folder; return the files that must be sent."""
    client.write(f"{name}/train.py", f"import time; print({name!r}, flush=True); time.sleep(300)")
    client.write(f"{name}/lib/note.txt", name * 3000)
    data = client.write(f"{name}.set/big", "").parent
    (data / "big").write_bytes(random.Random(name).randbytes(BIG))
    mark = hashlib.sha256(name.encode()).digest()
    (data / "twin").write_bytes(mark * 900)  # of one size, and of one second, in all jobs
    nanoseconds = 17 * 10**17 + int.from_bytes(mark[:3], "big")
    os.utime(data / "twin", ns=(nanoseconds, nanoseconds))
    keys = {
        "name": name,
        "command": [sys.executable, "train.py"],
        "code": name,
        "data": {"set": f"{name}.set"},
    }
    client.write(f"{name}.yaml", json.dumps(keys))
    return [contents(client.project / name), contents(data)]


def carried_on(line: Line, name: str, expected: list[dict[str, bytes]], before: set[Path]) -> None:
    """Check that everything sent is complete, and that repeating the deploy succeeds without duplicates."""
    assert all(contents(path) in expected for path in line.arrived() - before)
    left = Store(line.client.state_dir).find_intent(name, "gpu")
    again = line.run("deploy", name)
    assert again.code == 0 or (left is None and "already running" in again.err), again.err
    if left:
        assert left.identity.run_id in again.out, (left, again)
    arrived = [contents(path) for path in line.arrived() - before]
    assert len(arrived) == 2
    assert all(content in arrived for content in expected)
    assert [*line.root.glob("code/.*"), *line.root.glob("data/*/.*")] == []
    assert len(list(line.root.glob(f"runs/{name}-2*"))) == 1
    runs = [run for run in line.run("status", "--json").json["runs"] if run["id"].startswith(f"{name}-2")]
    assert [(run["state"], len(run["pids"])) for run in runs] == [("running", 1)], runs
    assert line.run("stop", name, "--now").code == 0
