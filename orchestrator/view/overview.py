"""The screen of `monitor` with one line for each live run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from orchestrator.context import Context
from orchestrator.core import events as ev
from orchestrator.core import runstate
from orchestrator.core.hostfacts import Machine
from orchestrator.core.text import cells, duration
from orchestrator.view.console import colours, harmless
from orchestrator.view.status import RunReport, headline

Notices = Mapping[str, str]  # a line for each host that does not answer, and for what else went wrong
_BAR = 10
_COLUMNS = ("", "run", "", "progress", "loss", "metric", "left", "GPU", "$/h", "host")
_DROPPED = (9, 5, 2, 7, 8, 4, 6)  # columns that a narrow terminal leaves out, in this order
_SHORT_NAME = 16  # cells of the name of a job, which is shortened before a column is left out


class LiveRun(msgspec.Struct, frozen=True):
    """A run, its host, what an hour of it costs. `note`: why the facts may be old; empty: they are not."""

    report: RunReport
    machine: Machine
    usd_per_hour: float | None = None
    note: str = ""


class Overview(Protocol):
    is_terminal: bool

    def start(self) -> None:
        """Takes the screen."""

    def stop(self) -> None:
        """Gives it back."""

    def show(self, live: Sequence[LiveRun], notices: Notices, chosen: int) -> None:
        """All live runs, and the notices below them."""


def open_screen(ctx: Context) -> Overview:
    if not ctx.stdout.isatty() or ctx.env.get("TERM") == "dumb":
        return _Lines(ctx)
    from orchestrator.view.overview_screen import Picture  # noqa: PLC0415 - only this screen pays for Rich

    return Picture(ctx, colours(ctx.env, ctx.stdout))


class _Lines:
    """A line for each run, each time it has changed."""

    is_terminal = False

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._shown: dict[str, str] = {}

    def start(self) -> None:
        """Nothing to take."""

    def stop(self) -> None:
        """Nothing to give back."""

    def show(self, live: Sequence[LiveRun], notices: Notices, chosen: int) -> None:
        lines = {**{run.report.facts.id: self._line(run.report) for run in live}, **notices}
        for key in self._shown.keys() - lines.keys():
            lines[key] = f"{key}  ended, or answers again"
        for key, line in lines.items():
            if line and self._shown.get(key) != line:
                self._ctx.out(line)
        self._shown = {key: line for key, line in lines.items() if not line.endswith("answers again")}

    def _line(self, report: RunReport) -> str:
        _, loss, metric = values(report)
        parts = [
            report.facts.id,
            runstate.word(report.state),
            headline(report),
            loss and f"loss {loss}",
            metric,
        ]
        return "  ".join(part for part in parts if part)


def outage(label: str, since: float | None, why: str) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(since))
    return harmless(f"no answer from {label} since {clock}: {why}")


def values(report: RunReport) -> tuple[float | None, str, str]:
    """The share that is done, the loss, and the first metric of the validation that is not a loss."""
    progress = ev.last(report.facts.events, ev.Progress)
    share = None if progress and progress.of_epoch else _share(report)
    loss = f"{progress.loss:.4g}" if progress and progress.loss is not None else ""
    metrics = {**report.metrics.get("train", {}), **report.metrics.get("val", {})}
    metric = next(((n, v) for n, v in metrics.items() if v is not None and "loss" not in n), None)
    return share, loss, f"{metric[0]} {metric[1]:.4g}" if metric else ""


def _share(report: RunReport) -> float | None:
    state = report.state
    if not isinstance(state, runstate.Running) or not state.of or state.step is None:
        return None
    return min(1.0, max(0.0, state.step / state.of))


def cells_of(number: int, run: LiveRun, name: str) -> list[str]:
    """The cells of one row, in the order of `_COLUMNS`."""
    report = run.report
    share, loss, metric = values(report)
    eta = getattr(report.state, "eta", None)
    uses = [gpu.use_percent for gpu in run.machine.gpus or () if gpu.use_percent is not None]
    gpu = f"{sum(uses) / len(uses):.0f} %" if uses else ("-" if run.machine.gpus == () else "?")
    done = run.note or (f"{100 * share:.0f} %" if share is not None else _state(report))
    price = f"{run.usd_per_hour:.2f}" if run.usd_per_hour is not None else "-"
    left = duration(eta) if eta is not None else "-"
    shown = "█" * round(_BAR * share) + "░" * (_BAR - round(_BAR * share)) if share is not None else ""
    row = [str(number), name, shown, done, loss or "-", metric or "-", left, gpu, price]
    return [harmless(cell).replace("\n", " ") for cell in [*row, report.target or ""]]


def _names(live: Sequence[LiveRun]) -> list[str]:
    """The job of each run where only one run is of that job, else its id."""
    jobs = [run.report.facts.job or "" for run in live]
    ids = [run.report.facts.id for run in live]
    return [job if job and jobs.count(job) == 1 else run_id for job, run_id in zip(jobs, ids, strict=True)]


def _state(report: RunReport) -> str:
    if not isinstance(report.state, runstate.Running):
        return runstate.word(report.state)
    progress = ev.last(report.facts.events, ev.Progress)
    if progress is None:
        return "running"
    share = _share(report)
    epoch = f"epoch {progress.epoch:g}" if progress.epoch is not None else "an epoch"
    if progress.of_epoch and share is not None:
        return f"{100 * share:.0f} % of {epoch}"
    if progress.step is not None:
        return f"step {progress.step}"
    return epoch if progress.epoch is not None else "running"


def table(live: Sequence[LiveRun], width: int) -> list[list[str]]:
    """Rows with their heading; a narrow terminal shortens the names, and leaves columns out."""
    names = _names(live)
    rows = [list(_COLUMNS), *(cells_of(n, run, names[n - 1]) for n, run in enumerate(live, 1))]
    kept = list(range(len(_COLUMNS)))
    ids = [len(name) for name, run in zip(names, live, strict=True) if name == run.report.facts.id]
    least = max([_SHORT_NAME, *ids])  # the end of an id tells runs apart
    for column in (-1, *_DROPPED):
        kept = [index for index in kept if index != column]
        widths = {index: max(cells(row[index]) for row in rows) for index in kept}
        widths[1] = min(widths[1], least)
        if sum(widths.values()) + 2 * len(kept) <= width:
            break
    chosen = [[row[index] for index in kept] for row in rows]
    excess = sum(max(cells(row[i]) for row in chosen) for i in range(len(kept))) + 2 * len(kept) - width
    if excess > 0:
        longest = max(len(row[1]) for row in chosen)
        for row in chosen:
            if len(row[1]) > longest - excess > 1:
                row[1] = row[1][: longest - excess - 1] + "…"
    return chosen
