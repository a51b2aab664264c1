"""How the CPU time of commands grows at 1, 10 and 100 times the hosts, files, trials, runs and events.

python -m benchmarks.growth [ROW...] [--write]     (from the repository's root; needs root and sshd)

Rows: hosts files plan trials runs events. `--write`, of all rows, puts the table into docs/benchmarks.md and
the plot into docs/pictures/growth.svg. It takes four minutes on an idle machine of two cores.

CPU time of a command and of what it starts, which depends little on the machine's load: the least of three.
The last column is how many times as much 100x costs as 10x; linear growth is 10.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.commands import study
from orchestrator.core import space
from tests.host.groups import several
from tests.support import GPUJOB, Client, new_client

Words = tuple[str, ...]
FACTORS = (1, 10, 100)
DOCS = Path(__file__).resolve().parent.parent / "docs"
PLOT = DOCS / "pictures" / "growth.svg"
BEGIN, END = "<!-- benchmarks.growth writes from here -->\n", "<!-- to here -->\n"
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#555555")


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
    """A run over so many hosts, which have nothing of gpujob yet, until it has begun on all."""
    machines = stack.enter_context(several(client, count))
    client.job("print('done')")
    return [("deploy", "job", "--on", machines.on)]


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
    """A command; `one` is the number of its hosts, files, ... at 1x."""

    command: str
    what: str
    one: int
    prepare: Callable[[Client, int, contextlib.ExitStack], list[Words]]


class Figures(NamedTuple):
    """CPU seconds of a row at each of FACTORS."""

    row: Row
    seconds: tuple[float, ...]


ROWS = {
    "hosts": Row("deploy", "hosts of one run, until it has begun on all", 1, with_hosts),
    "files": Row("deploy", "files of code, which it sends", 100, sent),
    "plan": Row("deploy --dry-run", "files of code", 100, planned),
    "trials": Row("sweep", "trials that are done", 4, with_trials),
    "runs": Row("status --all", "runs", 10, with_runs),
    "events": Row("export-metrics", "events", 1000, with_events),
}


def measure(row: Row) -> Figures:
    seconds = []
    for factor in FACTORS:
        began, size = time.monotonic(), row.one * factor
        with new_client() as client, contextlib.ExitStack() as stack:
            seconds.append(cpu(client, row.prepare(client, size, stack)))
        took = time.monotonic() - began
        out(f"{row.command}, {size} {row.what}: {seconds[-1]:.2f} s of CPU time (measured in {took:.0f} s)")
    return Figures(row, tuple(seconds))


def table(every: Sequence[Figures]) -> str:
    lines = ["| command | of | 1x | 10x | 100x | 10x → 100x |", "|---|---|---|---|---|---|"]
    for row, seconds in every:
        sizes = ", ".join(f"{row.one * factor:,}" for factor in FACTORS)
        cells = [f"`{row.command}`", f"{sizes} {row.what}", *(f"{one:.2f}" for one in seconds)]
        lines.append(f"| {' | '.join(cells)} | {seconds[2] / seconds[1]:.1f} times |")
    return "\n".join(lines) + "\n"


def plot(every: Sequence[Figures]) -> str:
    """SVG of all rows in multiples of their 1x, on logarithmic scales, with a line for linear growth."""
    import vl_convert  # noqa: PLC0415 - only --write needs it

    lines = {f"{row.command}: {row.what.split(',')[0]}": seconds for row, seconds in every}
    lines["linear growth"] = FACTORS
    values = [
        {"line": name, "factor": factor, "multiple": max(took / seconds[0], 0.9)}
        for name, seconds in lines.items()
        for factor, took in zip(FACTORS, seconds, strict=True)
    ]

    def axis(name: str, title: str, most: int) -> dict[str, Any]:
        scale = {"type": "log", "domain": [0.9 if name == "multiple" else 1, most], "nice": False}
        ticks = {"values": FACTORS, "labelExpr": "datum.value + 'x'", "title": title}
        return {"field": name, "type": "quantitative", "scale": scale, "axis": ticks}

    legend = {"title": None, "labelLimit": 320, "symbolType": "stroke", "symbolStrokeWidth": 3}
    colours = {"domain": list(lines), "range": [*COLOURS[: len(lines) - 1], COLOURS[-1]]}
    dash = {"condition": {"test": "datum.line == 'linear growth'", "value": [6, 4]}, "value": [1, 0]}
    spec = {
        "width": 380,
        "height": 300,
        "background": "white",
        "data": {"values": values},
        "mark": {"type": "line", "point": True, "strokeWidth": 2},
        "encoding": {
            "x": axis("factor", "hosts, files, trials, runs, events", FACTORS[-1]),
            "y": axis("multiple", "CPU time, in multiples of that at 1x", FACTORS[-1]),
            "color": {"field": "line", "type": "nominal", "sort": None, "scale": colours, "legend": legend},
            "strokeDash": dash,
        },
    }
    return str(vl_convert.vegalite_to_svg(spec))


def write(every: Sequence[Figures]) -> None:
    page = DOCS / "benchmarks.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + BEGIN + table(every) + END + rest.partition(END)[2])
    PLOT.write_text(plot(every) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md and the plot")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS) or (options.rows and options.write):
        parser.error(f"rows are {', '.join(ROWS)}; --write takes all of them ({unknown})")
    out(f"load {os.getloadavg()[0]:.1f}")
    every = [measure(ROWS[name]) for name in options.rows or ROWS]
    out(table(every))
    if options.write:
        write(every)


if __name__ == "__main__":
    main()
