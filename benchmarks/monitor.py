"""CPU time of `gpujob monitor`: of 20 live runs on 8 hosts, and of one run with a million events.

python -m benchmarks.monitor [--seconds N]      (from the repository's root; needs root and sshd)

The hosts are machines behind a real sshd on loopback, with runs that gpujob started there. The client runs in
a terminal of 160 columns; its own CPU time and that of its child processes are counted after the first ten
seconds, those of the hosts are not. The large run is on this machine, so its helper is a child process.
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
from typing import NamedTuple

from benchmarks.deploy import VISIBLE
from orchestrator.onhost import processes
from tests.rigs.fakehost import FakeHost
from tests.rigs.odd_runs import complete
from tests.support import GPUJOB, REPOSITORY, new_client

HOSTS, RUNS = 8, 20
EVENTS, LOG_BYTES, RUN = 1_000_000, 75_000_000, "job-20261121T101112-1a2b"
EVENT = '{"v": 2, "t": %d, "event": "progress", "phase": "train", "step": %d, "of": 1000000, "loss": %f}\n'
LINE = "step=%d loss=0.5 and what else a line of a log has\n"
INTERVAL = 2.0  # seconds between two refreshes of the large run
FIRST = 10.0  # seconds that are not counted
TRAIN = """
import time
for step in range(1, 100000):
    time.sleep(1)
    print(f"step {step}/100000 loss {1 / step:.4f}", flush=True)
    print(f"step {step}/100000 val_f1 {1 - 1 / step:.4f}", flush=True)
"""


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, and of its children that have ended; 0 once its parent has it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class Used(NamedTuple):
    """What a command and its child processes used: the share of a core, and the peak of the largest one's
    memory. `shown`: what it showed."""

    share: float
    mebibytes: int
    shown: bytes


def children(pid: int) -> list[int]:
    return [
        int(word)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for word in path.read_text().split()
    ]


def peak_mebibytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) >> 10  # type: ignore[index]


def watch(words: list[str], env: dict[str, str], cwd: Path, seconds: float) -> Used:
    """Runs a command in a terminal for a while."""
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
    pids = [child.pid, *children(child.pid)]
    before, started = sum(map(cpu_seconds, pids)), time.monotonic()
    time.sleep(seconds)
    share = (sum(map(cpu_seconds, pids)) - before) / (time.monotonic() - started)
    peak = max(map(peak_mebibytes, [child.pid, *children(child.pid)]))
    child.terminate()
    child.wait()
    return Used(share, peak, b"".join(shown))


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
        used = watch([*GPUJOB, "monitor"], env, project, seconds)
        lines = max(int(count) for count in re.findall(rb"(\d+) live runs", used.shown) or [b"0"])
        sys.stdout.write(
            f"monitor of {lines} runs on {HOSTS} hosts: {100 * used.share:.1f} % of a core   "
            f"load {os.getloadavg()[0]:.1f}\n"
        )


def of_large_run() -> None:
    """A live run with a million events and 75 MB of log, which both grow, by the client and its helper."""
    with new_client() as client, subprocess.Popen(["sleep", "3600"]) as supervisor:
        folder = complete(client.root / "runs" / RUN)
        state = json.loads((folder / "state.json").read_text())
        state |= {"supervisor": processes.identity(supervisor.pid), "boot": processes.boot(), "ended": None}
        (folder / "state.json").write_text(json.dumps(state))
        with (folder / "log").open("w") as log, (folder / "events.jsonl").open("w") as events:
            log.writelines(LINE % step for step in range(LOG_BYTES // len(LINE % 0)))
            events.writelines(EVENT % (step, step, 1e3 / (step + 1)) for step in range(EVENTS))
        done = threading.Event()
        threading.Thread(target=grow, args=(folder, done)).start()
        words = [*GPUJOB, "monitor", RUN, "--interval", str(INTERVAL)]
        used = watch(words, {**client.env, "TERM": "xterm-256color"}, client.project, 10 * INTERVAL)
        done.set()
        supervisor.kill()
    sys.stdout.write(
        f"monitor of {EVENTS:,} events and {LOG_BYTES // 10**6} MB of log: "
        f"{used.share * INTERVAL:.3f} CPU s a refresh, {used.mebibytes} MiB   load {os.getloadavg()[0]:.1f}\n"
    )


def grow(folder: Path, done: threading.Event) -> None:
    """Adds 20 lines a second to the log and the events."""
    step = EVENTS
    while not done.wait(0.05):
        step += 1
        for name, line in (("log", LINE % step), ("events.jsonl", EVENT % (step, step, 0.5))):
            with (folder / name).open("a") as file:
                file.write(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds: float = parser.parse_args().seconds
    home = Path(tempfile.mkdtemp(prefix="gjb-", dir="/tmp"))
    try:
        of_large_run()
        of_hosts(home, seconds)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
