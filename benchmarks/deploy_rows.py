"""The measurements of benchmarks/deploy.py: gpujob, plain ssh and a lower bound, in turns."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.plain_ssh import HOST, PlainSsh
from orchestrator import registry, settings_files, source
from orchestrator.onhost import folders
from orchestrator.source import Digests
from orchestrator.targets.base import Host
from tests.support import GPUJOB, Client

Call = Callable[[], object]
TRANSPORTS = {"fabric": "", "OpenSSH": "  CertificateFile /none\n"}  # paramiko supports no CertificateFile


@dataclass
class Row:
    """Medians in seconds; `against` names what `plain` measured, `ground` what `floor` did."""

    what: str
    ours: float
    plain: float
    floor: float
    against: str
    ground: str

    def text(self) -> str:
        ratios = (
            f"{self.ours / self.plain:5.2f}x {self.against}, {self.ours / self.floor:5.1f}x {self.ground}"
        )
        return f"{self.what:34} {self.ours:7.2f} s  {self.plain:7.2f} s  {self.floor:7.3f} s   {ratios}"


def medians(trials: int, *calls: Call) -> list[float]:
    """The median seconds of each call; the calls take turns, so that load affects them alike."""
    spent: list[list[float]] = [[] for _ in calls]
    for _ in range(trials):
        for call, seconds in zip(calls, spent, strict=True):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in spent]


@contextlib.contextmanager
def connected(client: Client) -> Iterator[Host]:
    ctx = client.context()
    with registry.target(ctx, settings_files.load(ctx), HOST).connect() as host:
        yield host


def write_job(client: Client) -> None:
    """Writes the job `job`, whose command ends at once, with 51 files of code."""
    for number in range(50):
        client.write(f"code/part{number % 5}/file{number}.py", f"x = {number}\n" * 100)
    client.write("code/code.txt", "true")
    client.write("job.yaml", "name: job\ncommand: ['true']\ncode: code\n")


def deploys(client: Client, plain: PlainSsh) -> Iterator[Row]:
    """A whole `gpujob deploy` process whose code and data are already on the host, over each transport."""
    write_job(client)
    config = client.home / "ssh_config"
    text = config.read_text()

    def over(name: str) -> None:
        config.write_text(text + TRANSPORTS[name])
        words = [*GPUJOB, "deploy", "job", "--on", HOST]
        subprocess.run(words, cwd=client.project, env=client.env, capture_output=True, check=True)

    for name in TRANSPORTS:
        over(name)
        with connected(client) as host:
            assert host.describe_connection().startswith(name), name
    code = client.project / "code"
    calls = [partial(over, name) for name in TRANSPORTS]
    *ours, of_plain, floor = medians(5, *calls, lambda: plain.deploy(code), lambda: plain.ssh("true"))
    config.write_text(text)
    for name, seconds in zip(TRANSPORTS, ours, strict=True):
        what = f"deploy over {name}, 51 files"
        yield Row(what, seconds, of_plain, floor, "10 x ssh/scp", "one ssh connection")


def unchanged(client: Client, plain: PlainSsh) -> Iterator[Row]:
    """20,000 files of 4 KiB that are already on the host; connections are open on both sides."""
    folder = client.home / "many"
    for number in range(20_000):
        path = folder / str(number % 200) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(4096))
    who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "all"]):
        subprocess.run(["git", *words], cwd=folder, env=client.env, check=True)
    without = client.home / "without"
    without.mkdir()
    (folder / ".git").rename(without / ".git")
    plain.share(client.home / "master")
    plain.rsync(f"{folder}/", f"{HOST}:many/")
    digests = Digests(client.home / "digests", time.time)
    with connected(client) as host:
        host.send_tree(source.read(folder, digests))
        described = folders.describe("many", str(folder))
        host.send_data("many", described.fingerprint, folder, lambda count: None)

        def code() -> None:
            (without / ".git").rename(folder / ".git")
            host.send_tree(source.read(folder, digests))
            (folder / ".git").rename(without / ".git")

        def code_without_git() -> None:
            host.send_tree(source.read(folder, digests))

        def data() -> None:
            found = folders.describe("many", str(folder))
            host.send_data("many", found.fingerprint, folder, lambda count: None)

        def rsync() -> None:
            plain.rsync(f"{folder}/", f"{HOST}:many/")

        def question() -> None:
            host.ask("begin_tree", tree="floor")

        *ours, of_rsync, floor = medians(5, code, code_without_git, data, rsync, question)
    plain.unshare()
    for name, of_ours in zip(("code", "code, no git", "data"), ours, strict=True):
        row = Row(f"no-op, 20,000 files as {name}", of_ours, of_rsync, floor, "rsync -a", "one question")
        yield row


def bulk(client: Client, plain: PlainSsh, mib: int, rate: float) -> Iterator[Row]:
    """One file up and down; gpujob verifies it by SHA-256 (down) or by name, size and time (up)."""
    folder, size, ground = client.home / "bulk", mib << 20, "bytes / rate" if rate else "ssh cat"
    folder.mkdir()
    with (folder / "file").open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
    count = iter(range(1000))
    with connected(client) as host:

        def up() -> None:
            found = folders.describe("x", str(folder))
            host.send_data(f"bulk{next(count)}", found.fingerprint, folder, lambda moved: None)

        def rsync_up() -> None:
            plain.rsync(f"{folder}/", f"{HOST}:bulk{next(count)}/")

        def cat() -> None:
            plain.ssh("cat bulk1/file")

        ours, theirs, floor = medians(2, up, rsync_up, (lambda: None) if rate else cat)
    floor = size / rate if rate else floor
    yield Row(f"{mib} MiB up", ours, theirs, floor, "rsync -a", ground)
    ours, theirs = _down(client, plain, size)
    yield Row(f"{mib} MiB down (gpujob fetch)", ours, theirs, floor, "rsync -a", ground)


CHECKPOINT = """
import hashlib, json, os, pathlib
folder = pathlib.Path(os.environ["GPUJOB_CHECKPOINTS"], "7")
folder.mkdir()
weights = os.urandom({size})
folder.joinpath("model.safetensors").write_bytes(weights)
files = {{"model.safetensors": {{"bytes": {size}, "sha256": hashlib.sha256(weights).hexdigest()}}}}
folder.joinpath("manifest.json").write_text(manifest := json.dumps({{"files": files}}))
folder.joinpath("manifest.sha256").write_text(hashlib.sha256(manifest.encode()).hexdigest())
folder.with_name("best").write_text("7")
"""


def _down(client: Client, plain: PlainSsh, size: int) -> list[float]:
    """A whole fetch: hashed on the host, downloaded, hashed here and checked against its manifest."""
    client.job(CHECKPOINT.format(size=size))
    done = client.run("deploy", "job", "--on", HOST, "--follow")
    assert done.code == 0, done.err
    run = client.run("status", "--json", "--on", HOST).json["runs"][-1]["id"]
    count = iter(range(1000))

    def fetch() -> None:
        assert client.run("fetch", run, "--on", HOST, "--to", f"fetched{next(count)}").code == 0

    def rsync() -> None:
        file = f".gpujob/runs/{run}/checkpoints/7/model.safetensors"
        plain.rsync(f"{HOST}:{file}", str(client.home / f"got{next(count)}"))

    return medians(2, fetch, rsync)


def worker(home: Path, which: str, mib: int, rate: float) -> None:
    """Measures at the client's end and prints the rows; `home` was prepared by benchmarks.deploy."""
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "USER": "bench"}
    env |= {"GPUJOB_SSH_CONFIG": str(home / "ssh_config"), "XDG_STATE_HOME": str(home / "xdg")}
    client = Client(home, home / "project", home / "root", env)
    client.project.mkdir(exist_ok=True)
    plain = PlainSsh(home / "ssh_config", env)
    if which == "all":
        for row in deploys(client, plain):
            say(row)
        for row in unchanged(client, plain):
            say(row)
    for row in bulk(client, plain, mib, rate):
        say(row)


def say(row: Row) -> None:
    sys.stdout.write(f"{row.text()}   load {os.getloadavg()[0]:.1f}\n")
    sys.stdout.flush()
