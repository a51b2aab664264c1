"""How the CPU time of commands grows with hosts, files, trials, runs and events. Needs root and sshd.

python -m benchmarks.growth [ROW...]   (from the repository's root; hosts files plan trials runs events)

CPU time of a command and of what it starts, which depends little on the machine's load. The exponent is p of
the best fit of a + b * n ** p: 1 is linear. It says little where b * n is small beside the start-up a; so the
time for each unit, between the two largest sizes, is printed too.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.commands import study
from orchestrator.core import space
from tests.host.groups import several
from tests.support import GPUJOB, Client, new_client

Words = tuple[str, ...]


def out(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def cpu(client: Client, commands: Iterable[Words]) -> float:
    """CPU seconds of a command and its children: the least of several."""
    least = float("inf")
    for words in commands:
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


def with_runs(client: Client, count: int, stack: contextlib.ExitStack) -> list[Words]:
    template = finished(client)
    for number in range(count - 1):
        run_id = f"job-20260101T{number // 3600:02}{number // 60 % 60:02}{number % 60:02}-0000"
        copy = client.root / "runs" / run_id
        shutil.copytree(template, copy)
        for name in ("run.json", "state.json"):
            (copy / name).write_text((template / name).read_text().replace(template.name, run_id))
    return [("status", "--all")] * 3


def with_events(client: Client, count: int, stack: contextlib.ExitStack) -> list[Words]:
    folder = finished(client)
    with (folder / "events.jsonl").open("w") as events:
        for step in range(count):
            numbers = {"t": 1.7e9 + step, "epoch": step, "step": step, "values": {"loss": 1 / (step + 1)}}
            events.write(json.dumps({"v": 2, "event": "metrics", "split": "train", **numbers}) + "\n")
    return [("export-metrics", "job", "--to", "csv", "--out", "values.csv")] * 3


def with_files(client: Client, count: int) -> None:
    client.job("print('done')")
    for number in range(count):
        client.write(f"part{number // 100}/m{number}.py", f"value = {number}\n")


def planned(client: Client, count: int, stack: contextlib.ExitStack) -> list[Words]:
    with_files(client, count)
    return [("deploy", "job", "--on", "local", "--dry-run")] * 3


def sent(client: Client, count: int, stack: contextlib.ExitStack) -> list[Words]:
    """The files are on the host after the first deploy, so it is the only one."""
    machines = stack.enter_context(several(client, 1))
    with_files(client, count)
    return [("deploy", "job", "--on", machines.on)]


def with_hosts(client: Client, count: int, stack: contextlib.ExitStack) -> list[Words]:
    """A run over so many hosts, from the deploy until it has begun on all."""
    machines = stack.enter_context(several(client, count))
    client.job("print('done')")
    words = ("deploy", "job", "--on", machines.on, "--name")
    return [(*words, f"job{number}") for number in range(3)]


def with_trials(client: Client, count: int, stack: contextlib.ExitStack) -> list[Words]:
    """A sweep of which all trials are done: what the command reads, and its table."""
    import optuna  # noqa: PLC0415 - only this row needs it

    client.job("print('done')", config={"x": 0.5})
    dimensions = space.parse({}, ("config.x=0..1",), {"x": 0.5})
    terms = study.Terms("job", "val.loss", "min", dimensions)
    opened = study.open_study(client.project / "sweeps" / "job-sweep", terms, 0, True)
    for number in range(count):
        trial = optuna.trial.create_trial(
            params={"config.x": number / count},
            distributions=study.distributions(dimensions),
            value=(number / count - 0.3) ** 2,
            intermediate_values={step: 1.0 / (step + 1) for step in range(10)},
        )
        opened.add_trial(trial)
    return [("sweep", "job", "--space", "config.x=0..1", "--trials", str(count))] * 3


class Row(NamedTuple):
    what: str
    sizes: Sequence[int]
    prepare: Callable[[Client, int, contextlib.ExitStack], list[Words]]


ROWS = {
    "hosts": Row("deploy --on several hosts", (1, 2, 4, 8), with_hosts),
    "files": Row("deploy that sends files", (1000, 4000, 16000), sent),
    "plan": Row("deploy --dry-run of files", (1000, 4000, 16000), planned),
    "trials": Row("sweep with trials", (10, 20, 40, 160), with_trials),
    "runs": Row("status --all of runs", (10, 100, 1000), with_runs),
    "events": Row("export-metrics of events", (1000, 10000, 100000), with_events),
}


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The p of the least-squares fit of a + b * n ** p, in steps of 0.05."""

    def error(p: float) -> float:
        powers = [float(size) ** p for size in sizes]
        mean, middle = sum(powers) / len(powers), sum(seconds) / len(seconds)
        spread = sum((power - mean) ** 2 for power in powers)
        slope = sum((x - mean) * (y - middle) for x, y in zip(powers, seconds, strict=True)) / spread
        return sum((middle + slope * (x - mean) - y) ** 2 for x, y in zip(powers, seconds, strict=True))

    return min((number / 20 for number in range(2, 61)), key=error)


def measure(row: Row) -> None:
    seconds = []
    for size in row.sizes:
        with new_client() as client, contextlib.ExitStack() as stack:
            seconds.append(cpu(client, row.prepare(client, size, stack)))
    values = "  ".join(f"{size}: {took:.2f} s" for size, took in zip(row.sizes, seconds, strict=True))
    unit = (seconds[-1] - seconds[-2]) / (row.sizes[-1] - row.sizes[-2])
    out(f"{row.what}: {values}; exponent {exponent(row.sizes, seconds):.2f}, {unit * 1000:.2f} ms each")


def main() -> None:
    out(f"load {os.getloadavg()[0]:.1f}")
    for name in sys.argv[1:] or ROWS:
        measure(ROWS[name])


if __name__ == "__main__":
    main()
