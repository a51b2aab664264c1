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
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from benchmarks.deploy import DELAY, VISIBLE
from tests.rigs.fakehost import FakeHost
from tests.rigs.faultproxy import FaultProxy
from tests.support import Box, new_box

SETTLED = 2.0  # seconds: what was written while nobody was connected is shown by then
BETWEEN = (3.0, 5.0)  # seconds between two cuts
EVERY = 0.03  # seconds between two lines
LOG = """
import time
for number in range({lines}):
    bar = "".join("\\r%3d%% [%s]" % (done, "#" * done) for done in range(0, 100, 4))
    print("%s\\n@%d@" % (bar, time.time_ns()), flush=True)
    time.sleep({every})
"""
_STAMP = re.compile(rb"\n@(\d{19})@\n")


@dataclass
class Shown:
    """When each line was written, and when it was shown; epoch seconds."""

    stream: IO[bytes]
    lines: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        kept = b""
        while block := os.read(self.stream.fileno(), 1 << 20):
            now, kept = time.time(), kept + block
            self.lines += [(int(stamp) / 1e9, now) for stamp in _STAMP.findall(kept)]
            kept = kept[-22:]  # a whole stamp has one more

    def late(self, spans: list[tuple[float, float]]) -> list[float]:
        """Milliseconds, sorted, of the lines written within one of the spans."""
        within = [(at, shown) for at, shown in self.lines if any(begin <= at < end for begin, end in spans)]
        return sorted((shown - at) * 1000 for at, shown in within)


def ours(box: Box, proxy: FaultProxy, cuts: int) -> list[float]:
    """`gpujob monitor --stream`, cut again and again."""
    client = box.spawn("monitor", "--stream", "--on", "gpu")
    assert client.stdout
    shown, spans, dice = Shown(client.stdout), list[tuple[float, float]](), random.Random(3)
    until(lambda: bool(shown.lines))
    for number in range(cuts):
        begin = time.time() + SETTLED
        time.sleep(SETTLED + dice.uniform(*BETWEEN))
        spans.append((begin, time.time()))
        before = proxy.connections
        proxy.cut(rst=bool(number % 2))
        until(lambda: proxy.connections > before)  # noqa: B023 - called at once
    client.terminate()
    client.wait()
    return shown.late(spans)


def plain(box: Box, seconds: float) -> list[float]:
    """`ssh HOST tail -F LOG`, left alone."""
    words = ["ssh", "-F", str(box.home / "ssh_config"), "gpu", "tail -n 1 -F ~/.gpujob/runs/*/log"]
    client = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert client.stdout
    shown = Shown(client.stdout)
    until(lambda: bool(shown.lines))
    begin = time.time() + SETTLED
    time.sleep(SETTLED + seconds)
    client.terminate()
    client.wait()
    return shown.late([(begin, time.time())])


def until(true: Callable[[], bool]) -> None:
    """Waits, at most a minute."""
    give_up = time.time() + 60
    while not true():
        if time.time() > give_up:
            raise SystemExit("nothing came for a minute")
        time.sleep(0.01)


def row(what: str, late: list[float]) -> str:
    at = {share: late[min(len(late) - 1, int(len(late) * share))] for share in (0.5, 0.99)}
    over = f"p99 {at[0.99] / (DELAY * 1000):4.1f}x the floor"
    return f"{what:28} median {at[0.5]:6.0f} ms   p99 {at[0.99]:6.0f} ms   {len(late):5} lines   {over}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cuts", type=int, default=20)
    cuts: int = parser.parse_args().cuts
    alone = 20.0
    seconds = cuts * (SETTLED + max(BETWEEN) + 2) + alone + 60
    with new_box() as box:
        visible = (box.home, *VISIBLE)
        with (
            FakeHost(box.home / "machine", visible=visible) as machine,
            FaultProxy(machine.address, delay=DELAY) as proxy,
        ):
            known = box.home / "known"
            known.write_text(machine.known_hosts_line("machine") + "\n")
            text = machine.ssh_config("gpu", address=proxy.address)
            text += f"  HostKeyAlias machine\n  UserKnownHostsFile {known}\n"
            (box.home / "ssh_config").write_text(text)
            box.env["GPUJOB_SSH_CONFIG"] = str(box.home / "ssh_config")
            box.job(LOG.format(lines=int(seconds / EVERY), every=EVERY))
            deployed = box.run("deploy", "job", "--on", "gpu")
            if deployed.code:
                raise SystemExit(deployed.err)
            sys.stdout.write(f"load {os.getloadavg()[0]:.1f}, {cuts} cuts, floor {DELAY * 1000:.0f} ms\n")
            sys.stdout.write(row("ssh tail -F, not cut", plain(box, alone)))
            sys.stdout.write(row("gpujob monitor --stream", ours(box, proxy, cuts)))
            box.run("stop", "--now", "--on", "gpu")


if __name__ == "__main__":
    main()
