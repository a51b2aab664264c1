"""Latency of a question and of a deploy, over fabric and over OpenSSH. Needs root and sshd.

python -m benchmarks.connection [--against GPUJOB]      (from the repository's root)

Both transports are measured on the same host; compare them with each other. `--against` takes the program of
another version (`/path/.venv/bin/gpujob`) and prints what a deploy to a prepared host takes in each, in turns
and after a new login, on loopback and over a network with a round trip of 50 ms.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.deploy import DELAY, RATE, VISIBLE
from benchmarks.deploy_rows import TRANSPORTS, connected, medians, write_job
from orchestrator.targets.base import Host
from tests.rigs.fakehost import FakeHost
from tests.rigs.wan import Wan
from tests.support import GPUJOB, Client, new_client

TRIALS = 7


def configure(client: Client, machine: FakeHost, lines: str) -> None:
    known = client.home / "known_hosts"
    known.write_text(machine.known_hosts_line() + "\n")
    config = machine.ssh_config("gpu") + f"  UserKnownHostsFile {known}\n{lines}"
    (client.home / "ssh_config").write_text(config)
    client.env["GPUJOB_SSH_CONFIG"] = str(client.home / "ssh_config")


def ask(host: Host) -> None:
    host.ask("status", runs=[], lines=0)


def first_question(client: Client) -> None:
    with connected(client) as host:
        ask(host)


def deploy(client: Client) -> None:
    words = [*GPUJOB, "deploy", "job", "--on", "gpu"]
    subprocess.run(words, cwd=client.project, env=client.env, capture_output=True, check=True)


def measured(client: Client, machine: FakeHost, name: str) -> str:
    configure(client, machine, TRANSPORTS[name])
    deploy(client)
    with connected(client) as host:
        ask(host)
        question, first, whole = medians(
            TRIALS, lambda: ask(host), lambda: first_question(client), lambda: deploy(client)
        )
        how = host.describe_connection()
    return f"{name:10} {question * 1000:8.1f} ms {first * 1000:8.0f} ms {whole:8.2f} s   {how}\n"


def compare(client: Client, machine: FakeHost, near: tuple[str, ...], network: str, other: str) -> None:
    """Prints the seconds of a deploy of this version and of the other, and the median ratio of the pairs."""
    write_job(client)

    def deploy_with(program: list[str]) -> float:
        for socket in Path(f"/tmp/gpujob-{os.getuid()}-ssh").glob("?" * 40):
            subprocess.run(["ssh", "-S", str(socket), "-O", "exit", "gpu"], capture_output=True, check=False)
        start = time.perf_counter()
        words = [*near, *program, "deploy", "job", "--on", "gpu"]
        subprocess.run(words, cwd=client.project, env=client.env, capture_output=True, check=True)
        return time.perf_counter() - start

    for name in TRANSPORTS:
        configure(client, machine, TRANSPORTS[name])
        pairs = [(deploy_with(GPUJOB), deploy_with([other])) for _ in range(TRIALS + 1)][1:]
        ours, theirs = map(statistics.median, zip(*pairs, strict=True))
        ratio = statistics.median(one / another for one, another in pairs)
        sys.stdout.write(f"{network:10} {name:10} {ours:6.2f} s  against {theirs:.2f} s  {ratio:.2f}x\n")
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--against", metavar="GPUJOB", type=Path)
    other = parser.parse_args().against
    if other:
        both = (*VISIBLE, other.resolve().parents[2])
        with new_client() as client, FakeHost(client.home / "m", visible=(client.home, *both)) as machine:
            compare(client, machine, (), "loopback", str(other))
        with (
            new_client() as client,
            Wan(delay=DELAY, rate=RATE) as wan,
            FakeHost(
                client.home / "m", ip=wan.far_ip, prefix=wan.far, visible=(client.home, *both)
            ) as machine,
        ):
            compare(client, machine, wan.near, "50 ms", str(other))
        return
    sys.stdout.write(f"{'':12}question   connect+ask     deploy\n")
    with new_client() as client, FakeHost(client.home / "m", visible=(client.home, *VISIBLE)) as machine:
        client.write("job.yaml", "name: job\ncommand: ['true']\n")
        for name in TRANSPORTS:
            sys.stdout.write(measured(client, machine, name))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
