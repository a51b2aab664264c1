"""Overhead over a bare torchrun, on one host and on two; growth with runs, events, files. Needs root, sshd.

python -m benchmarks.scaling        (from the repository's root)

Overhead is wall time, measured beside a bare torchrun of the same script in turns: compare it in one run.
Growth is CPU time of the command and of what it starts, which depends little on the machine's load.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.host.groups import TWO_GPUS, several
from tests.support import GPUJOB, Client, new_client

ROUNDS = 5
SIZES = (1, 10, 100)
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


def cpu(client: Client, *words: str) -> float:
    """CPU seconds of a command and its children: the least of three."""
    least = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [*GPUJOB, *words], cwd=client.project, env=client.env, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return least


def finished(client: Client) -> Path:
    """The folder of a run that has ended."""
    client.job("print('done')")
    assert client.run("deploy", "job", "--on", "local", "--follow").code == 0
    return next((client.root / "runs").iterdir())


def with_runs(client: Client, count: int) -> tuple[str, ...]:
    template = finished(client)
    for number in range(count - 1):
        run_id = f"job-20260101T{number // 3600:02}{number // 60 % 60:02}{number % 60:02}-0000"
        copy = client.root / "runs" / run_id
        shutil.copytree(template, copy)
        for name in ("run.json", "state.json"):
            (copy / name).write_text((template / name).read_text().replace(template.name, run_id))
    return ("status", "--all")


def with_events(client: Client, count: int) -> tuple[str, ...]:
    folder = finished(client)
    with (folder / "events.jsonl").open("w") as events:
        for step in range(count):
            event = {
                "v": 2,
                "t": 1.7e9 + step,
                "event": "metrics",
                "split": "train",
                "epoch": step,
                "step": step,
            }
            events.write(json.dumps({**event, "values": {"loss": 1 / (step + 1)}}) + "\n")
    return ("export-metrics", "job", "--to", "csv", "--out", "values.csv")


def with_files(client: Client, count: int) -> tuple[str, ...]:
    client.job("print('done')")
    for number in range(count):
        client.write(f"part{number // 100}/m{number}.py", f"value = {number}\n")
    return ("deploy", "job", "--on", "local", "--dry-run")


def growth() -> None:
    """Prints CPU seconds at 1, 10 and 100 times of each size; a ratio of 11 is linear."""
    out(f"{'':34}{'1x':>8}{'10x':>8}{'100x':>8}{'(100x-1x)/(10x-1x)':>22}")
    rows = (
        ("status --all, 10 runs", 10, with_runs),
        ("export-metrics, 1000 events", 1000, with_events),
        ("deploy --dry-run, 100 files", 100, with_files),
    )
    for what, unit, prepare in rows:
        seconds = []
        for size in SIZES:
            with new_client() as client:
                seconds.append(cpu(client, *prepare(client, unit * size)))
        one, ten, hundred = seconds
        ratio = (hundred - one) / max(ten - one, 1e-3)
        out(f"{what:34}{one:8.2f}{ten:8.2f}{hundred:8.2f}{ratio:22.1f}")


def main() -> None:
    out(f"load {os.getloadavg()[0]:.1f}")
    growth()
    overhead()


if __name__ == "__main__":
    main()
