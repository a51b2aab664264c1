"""Latency of a question and of a deploy, over fabric and over OpenSSH. Needs sshd.

python -m benchmarks.connection      (from the repository's root)

Both transports take turns on the same host, so that load affects them alike. Compare them with each other.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.deploy_rows import TRANSPORTS, connected, medians
from orchestrator.targets.base import Host
from tests.rigs.fakehost import FakeHost
from tests.support import GPUJOB, Client, new_client

TRIALS = 7
VISIBLE = (Path(sys.prefix), Path(sys.base_prefix))


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


def main() -> None:
    sys.stdout.write(f"{'':12}question   connect+ask     deploy\n")
    with new_client() as client, FakeHost(client.home / "m", visible=(client.home, *VISIBLE)) as machine:
        client.write("job.yaml", "name: job\ncommand: ['true']\n")
        for name in TRANSPORTS:
            sys.stdout.write(measured(client, machine, name))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
