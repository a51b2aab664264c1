"""How late `monitor --stream` shows a log line while its connection is cut. Needs root and sshd.

python -m benchmarks.stream [--cuts N]      (from the repository's root)

At a round trip of 50 ms, with progress bars in the log as a real training writes them. Compared with
`ssh HOST tail -F`, which is not cut, since that would end it. gpujob's connection is cut at random moments; a
line counts if it was written between `SETTLED` seconds after a new connection and the next cut. The floor is
half a round trip.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.deploy import DELAY, VISIBLE
from tests.host.chaos import ON, Line
from tests.rigs.fakehost import FakeHost
from tests.rigs.faultproxy import FaultProxy
from tests.rigs.shown import STAMP, Shown
from tests.support import Client, new_client

SETTLED = 2.0  # seconds after which the backlog of a new connection has been shown
BETWEEN = (3.0, 5.0)  # seconds between two cuts
EVERY = 0.03  # seconds between two lines
LOG = """
import sys, time
for number in range({lines}):
    bar = "".join("\\r%3d%% [%s]" % (done, "#" * done) for done in range(0, 100, 4))
    sys.stdout.buffer.write(bar.encode() + {stamp})
    sys.stdout.buffer.flush()
    time.sleep({every})
"""


def ours(client: Client, proxy: FaultProxy, cuts: int) -> list[float]:
    """The delays of `gpujob monitor --stream` over `cuts` cuts."""
    process = client.spawn("monitor", "--stream", *ON)
    assert process.stdout
    shown, spans, dice = Shown(process.stdout), list[tuple[float, float]](), random.Random(3)
    until(lambda: bool(shown.lines))
    for number in range(cuts):
        begin = time.time() + SETTLED
        time.sleep(SETTLED + dice.uniform(*BETWEEN))
        spans.append((begin, time.time()))
        before = proxy.connections
        proxy.cut(rst=bool(number % 2))
        until(lambda: proxy.connections > before)  # noqa: B023 - called at once
    process.terminate()
    process.wait()
    return shown.late(spans)


def plain(client: Client, seconds: float) -> list[float]:
    """The delays of `ssh HOST tail -F LOG`, which is not cut."""
    words = ["ssh", "-F", str(client.home / "ssh_config"), "gpu", "tail -n 1 -F ~/.gpujob/runs/*/log"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout
    shown = Shown(process.stdout)
    until(lambda: bool(shown.lines))
    begin = time.time() + SETTLED
    time.sleep(SETTLED + seconds)
    process.terminate()
    process.wait()
    return shown.late([(begin, time.time())])


def until(true: Callable[[], bool]) -> None:
    """Waits for a minute at most."""
    give_up = time.time() + 60
    while not true():
        if time.time() > give_up:
            raise SystemExit("no output for a minute")
        time.sleep(0.01)


def row(what: str, late: list[float]) -> str:
    half, most = (late[min(len(late) - 1, int(len(late) * share))] for share in (0.5, 0.99))
    told = f"{what:28} median {half * 1e3:6.0f} ms   p99 {most * 1e3:6.0f} ms   {len(late):5} lines"
    return f"{told}   p99 {most / DELAY:4.1f}x the floor\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cuts", type=int, default=20)
    cuts: int = parser.parse_args().cuts
    alone = 20.0
    seconds = cuts * (SETTLED + max(BETWEEN) + 2) + alone + 60
    with new_client() as client:
        visible = (client.home, *VISIBLE)
        with (
            FakeHost(client.home / "machine", visible=visible) as machine,
            FaultProxy(machine.address, delay=DELAY) as proxy,
        ):
            line = Line(client, machine, proxy)
            line.log_in()
            client.job(LOG.format(lines=int(seconds / EVERY), every=EVERY, stamp=STAMP))
            deployed = line.run("deploy", "job")
            if deployed.code:
                raise SystemExit(deployed.err)
            sys.stdout.write(f"load {os.getloadavg()[0]:.1f}, {cuts} cuts, floor {DELAY * 1000:.0f} ms\n")
            sys.stdout.write(row("ssh tail -F, not cut", plain(client, alone)))
            sys.stdout.write(row("gpujob monitor --stream", ours(client, proxy, cuts)))
            line.run("stop", "--now")


if __name__ == "__main__":
    main()
