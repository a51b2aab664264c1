"""CPU time of `gpujob monitor`: of 20 live runs on 8 hosts, and of one run with a million events.

python -m benchmarks.monitor [--seconds N]      (from the repository's root; needs root and sshd)

The hosts are machines behind a real sshd on loopback, with runs that gpujob started there. The client runs in
a terminal of 160 columns; its own CPU time and that of its child processes are counted after the first ten
seconds, those of the hosts are not.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

from benchmarks.deploy import VISIBLE
from orchestrator.core import hostfacts
from orchestrator.core.events import parse as parse_events
from orchestrator.core.history import History
from orchestrator.core.layout import Layout
from orchestrator.onhost import helper
from tests.rigs.fakehost import FakeHost
from tests.support import GPUJOB, REPOSITORY

HOSTS, RUNS = 8, 20
EVENTS, RUN = 1_000_000, "job-20261121T101112-1a2b"
FIRST = 10.0  # seconds that are not counted
TRAIN = """
import time
for step in range(1, 100000):
    time.sleep(1)
    print(f"step {step}/100000 loss {1 / step:.4f}", flush=True)
    print(f"step {step}/100000 val_f1 {1 - 1 / step:.4f}", flush=True)
"""


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def watch(words: list[str], env: dict[str, str], cwd: Path, seconds: float) -> tuple[float, bytes]:
    """The share of a core that a command in a terminal uses, and what it showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 48, 160, 0, 0))
    child = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cwd)
    os.close(theirs)
    shown: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):
            while block := os.read(ours, 1 << 16):
                shown.append(block)

    threading.Thread(target=read, daemon=True).start()
    time.sleep(FIRST)
    before, started = cpu_seconds(child.pid), time.monotonic()
    time.sleep(seconds)
    used, took = cpu_seconds(child.pid) - before, time.monotonic() - started
    child.terminate()
    child.wait()
    return used / took, b"".join(shown)


def of_hosts(home: Path, seconds: float) -> None:
    known, config, project = home / "known_hosts", home / "ssh_config", home / "project"
    project.mkdir()
    (project / "train.py").write_text(TRAIN)
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "USER": "bench"}
    env |= {"GPUJOB_SSH_CONFIG": str(config), "XDG_STATE_HOME": str(home / "xdg"), "TERM": "xterm-256color"}
    env |= {"GPUJOB_TARGET": "gpu0", "PYTHONPATH": str(REPOSITORY)}
    with contextlib.ExitStack() as stack:
        for number in range(HOSTS):
            host = stack.enter_context(FakeHost(home / str(number), visible=(home, *VISIBLE)))
            with known.open("a") as lines, config.open("a") as blocks:
                lines.write(host.known_hosts_line() + "\n")
                blocks.write(host.ssh_config(f"gpu{number}") + f"  UserKnownHostsFile {known}\n")
        for number in range(RUNS):
            (project / f"job{number}.yaml").write_text(f"name: job{number}\ncommand: [python3, train.py]\n")
            words = [*GPUJOB, "deploy", f"job{number}", "--on", f"gpu{number % HOSTS}", "-q", "--share-gpu"]
            subprocess.run(words, env=env, cwd=project, check=True, stdout=subprocess.DEVNULL)
        share, shown = watch([*GPUJOB, "monitor"], env, project, seconds)
        lines = max(int(count) for count in re.findall(rb"(\d+) live runs", shown) or [b"0"])
        sys.stdout.write(
            f"monitor of {lines} runs on {HOSTS} hosts: {100 * share:.1f} % of a core   "
            f"load {os.getloadavg()[0]:.1f}\n"
        )


def of_events(home: Path) -> None:
    """Refreshes of a run with a million events, by the helper and the client in one process."""
    folder = home / "root" / "runs" / RUN
    folder.mkdir(parents=True)
    events = folder / "events.jsonl"
    line = '{"v": 2, "t": %d, "event": "progress", "phase": "train", "step": %d, "of": 1000000, "loss": %f}\n'
    with events.open("w") as file:
        file.writelines(line % (1.7e9 + step, step, 1e3 / (step + 1)) for step in range(EVENTS))
    layout, history, offset = Layout(str(home / "root")), History(), 0
    for refresh in range(5):
        started = time.process_time()
        request = {"op": "read_events", "run": RUN, "offset": offset, "limit": 4 << 20}
        read = json.loads(json.dumps(helper.answer(layout, request)["answer"]))
        offset = read["offset"]
        history.add(parse_events(read["text"].splitlines()))
        found = helper.answer(layout, {"op": "status", "runs": [RUN], "lines": 48})["answer"]
        hostfacts.parse_snapshot(json.loads(json.dumps(found)))
        history.curves()
        sys.stdout.write(
            f"refresh {refresh + 1} of {EVENTS:,} events: {time.process_time() - started:.3f} CPU s\n"
        )
        with events.open("a") as file:
            file.writelines(line % (1.8e9 + step, step, 0.5) for step in range(100))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds: float = parser.parse_args().seconds
    home = Path(tempfile.mkdtemp(prefix="gjb-", dir="/tmp"))
    try:
        of_events(home)
        of_hosts(home, seconds)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
