"""Overhead over a bare torchrun, on one host and on two. Needs root and sshd.

python -m benchmarks.scaling [ROUNDS]        (from the repository's root)

It is wall time, measured beside a bare torchrun of the same script in turns: compare it in one run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.host.groups import TWO_GPUS, several
from tests.support import Client, new_client

ROUNDS = 5
SCRIPT = "import os, time\ntime.sleep(1)\nprint(os.environ['RANK'])\n"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def out(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def bare(folder: Path) -> float:
    """Seconds of torchrun with two processes, without gpujob."""
    begun = time.monotonic()
    words = [*TORCHRUN, "--standalone", "--nproc-per-node", "2", "train.py"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return time.monotonic() - begun


def deployed(client: Client, states: Callable[[str], list[Path]], on: str) -> float:
    """Seconds from the start of the first supervisor to the recorded end of the last."""
    result = client.run("deploy", "job", "--on", on, "--follow", "--json")
    assert result.code == 0, result.err
    run_id = result.json["run"]["id"]
    while True:
        records = [json.loads(path.read_text()) for path in states(run_id)]
        if all(record["ended"] for record in records):
            break
        time.sleep(0.05)
    return float(max(r["ended"] for r in records) - min(r["started"] for r in records))


def overhead(rounds: int = ROUNDS) -> None:
    """Prints how much longer a run takes than a bare torchrun."""
    with new_client() as client, several(client) as machines:
        client.write("train.py", SCRIPT)
        for machine in machines.machines.values():
            machine.plant("nvidia-smi", TWO_GPUS)
            machine.plant("torchrun", f'#!/bin/sh\nexec {" ".join(TORCHRUN)} "$@"\n')
        places: dict[str, Callable[[str], list[Path]]] = {
            on: lambda run, on=on: [machines.folder(name, run) / "state.json" for name in on.split(",")]
            for on in ("a", "a,b")
        }
        seconds: dict[str, list[float]] = {"bare": [], "a": [], "a,b": []}
        for _ in range(rounds):
            seconds["bare"].append(bare(client.project))
            for on, states in places.items():
                more = "--standalone, " if on == "a" else ""
                count = "2" if on == "a" else "1"
                command = f"[torchrun, {more}--nproc-per-node, '{count}', train.py]"
                client.write("job.yaml", f"name: job\ncommand: {command}\nresources: {{gpus: 1}}\n")
                seconds[on].append(deployed(client, states, on))
            out("  ".join(f"{place} {values[-1]:.1f} s" for place, values in seconds.items()))
        base = statistics.median(seconds["bare"])
        out(f"bare torchrun, 2 processes: {base:.1f} s (median of {rounds})")
        for on, what in (("a", "one host, 2 processes"), ("a,b", "two hosts, 1 process each")):
            value = statistics.median(seconds[on])
            out(f"gpujob, {what}: {value:.1f} s, {value - base:+.1f} s, {value / base:.2f} times")


def main() -> None:
    out(f"load {os.getloadavg()[0]:.1f}")
    overhead(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)


if __name__ == "__main__":
    main()
