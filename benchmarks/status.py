"""`gpujob status` of one host and of eight, at a round trip of 50 ms. Needs root and sshd.

python -m benchmarks.status      (from the repository's root; each trial starts a process)
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.deploy import DELAY, RATE, VISIBLE
from benchmarks.deploy_rows import medians
from tests.rigs.fakehost import FakeHost
from tests.rigs.wan import Wan
from tests.support import GPUJOB

HOSTS = 8
TRIALS = 7


def worker(home: Path) -> None:
    """Runs at the client's end and prints the row; exits if a host does not answer in time."""
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "USER": "bench"}
    env |= {"GPUJOB_SSH_CONFIG": str(home / "ssh_config"), "XDG_STATE_HOME": str(home / "xdg")}

    def status(count: int, *words: str) -> None:
        line = [*GPUJOB, "status", "--json", *words]
        done = subprocess.run(line, env={**env, "GPUJOB_TARGET": "gpu0"}, capture_output=True, check=True)
        hosts = json.loads(done.stdout)["hosts"]
        silent = [host["target"] for host in hosts if host["unreachable"]]
        if len(hosts) != count or silent:
            raise SystemExit(f"{len(hosts)} hosts, of which these did not answer: {silent}")

    for number in range(HOSTS):
        status(1, "--on", f"gpu{number}")
    one, all_ = medians(TRIALS, lambda: status(1, "--on", "gpu0"), lambda: status(HOSTS))
    sys.stdout.write(
        f"status of one host {one:.2f} s, of {HOSTS} {all_:.2f} s: {all_ / one:.2f}x   "
        f"load {os.getloadavg()[0]:.1f}, median of {TRIALS}\n"
    )


def measure(home: Path) -> None:
    known, config = home / "known_hosts", home / "ssh_config"
    with Wan(delay=DELAY, rate=RATE) as wan, contextlib.ExitStack() as stack:
        for number in range(HOSTS):
            folder = home / str(number)
            host = FakeHost(folder, ip=wan.far_ip, prefix=wan.far, visible=(home, *VISIBLE))
            stack.enter_context(host)
            with known.open("a") as lines, config.open("a") as blocks:
                lines.write(host.known_hosts_line() + "\n")
                blocks.write(host.ssh_config(f"gpu{number}") + f"  UserKnownHostsFile {known}\n")
        words = [sys.executable, "-m", "benchmarks.status", "--worker", str(home)]
        subprocess.run([*wan.near, *words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(given.worker)
        return
    home = Path(tempfile.mkdtemp(prefix="gjb-"))
    try:
        measure(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
