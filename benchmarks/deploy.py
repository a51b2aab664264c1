"""Deploy, no-op sync and bulk transfer compared with plain ssh, scp and rsync. Needs root and sshd.

python -m benchmarks.deploy [--full]      (from the repository's root; --full: 1 GiB instead of 256 MiB)

The slow network carries real packets with a round trip of 50 ms at 300 Mbit/s. Compare ratios, not seconds:
seconds depend on the machine and its load.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.deploy_rows import worker
from tests.rigs.fakehost import FakeHost
from tests.rigs.wan import Wan

DELAY, RATE = 0.025, 37.5e6
VISIBLE = (Path(sys.prefix), Path(sys.base_prefix))


def measured(near: tuple[str, ...], machine: FakeHost, home: Path, which: str, mib: int, rate: float) -> None:
    """Runs the measurements at the client's end of the network; they print their rows."""
    known = home / "known_hosts"
    known.write_text(machine.known_hosts_line() + "\n")
    config = machine.ssh_config("gpu") + f"  UserKnownHostsFile {known}\n"
    (home / "ssh_config").write_text(config)
    words = [sys.executable, "-m", "benchmarks.deploy", "--worker", str(home), which, str(mib), str(rate)]
    subprocess.run([*near, *words], check=True)


def over_a_slow_network(home: Path, mib: int) -> None:
    sys.stdout.write(f"50 ms, 300 Mbit/s{'':20}ours     plain      floor\n")
    sys.stdout.flush()
    with (
        Wan(delay=DELAY, rate=RATE) as wan,
        FakeHost(home / "m", ip=wan.far_ip, prefix=wan.far, visible=(home, *VISIBLE)) as machine,
    ):
        measured(wan.near, machine, home, "all", mib, RATE)


def on_loopback(home: Path, mib: int) -> None:
    sys.stdout.write("loopback\n")
    sys.stdout.flush()
    with FakeHost(home / "m", visible=(home, *VISIBLE)) as machine:
        measured((), machine, home, "bulk", mib, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        home, which, mib, rate = given.worker
        worker(Path(home), which, int(mib), float(rate))
        return
    mib = 1024 if given.full else 256
    sys.stdout.write(f"load {os.getloadavg()[0]:.1f}, medians\n")
    for part in (over_a_slow_network, on_loopback):
        home = Path(tempfile.mkdtemp(prefix="gjb-"))
        try:
            part(home, mib)
        finally:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
