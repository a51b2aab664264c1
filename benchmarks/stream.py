"""How late a line of a log is shown between cuts, 50 ms away there and back. Needs root and sshd.

python -m benchmarks.stream [--cuts N]      (from the repository's root)

The peer is `ssh HOST tail -F`, which is not cut, since it would end. Ours is cut at random moments; a line
counts when it was written from `SETTLED` seconds after a new connection until the next cut. The floor is
the way from there to here, half a round trip. Beside progress bars as they fill a real log.
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

SETTLED = 2.0  # seconds: what was written while nobody was connected is shown by then
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
    """`gpujob monitor --stream`, cut again and again."""
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
    """`ssh HOST tail -F LOG`, left alone."""
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
    """Waits, at most a minute."""
    give_up = time.time() + 60
    while not true():
        if time.time() > give_up:
            raise SystemExit("nothing came for a minute")
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
