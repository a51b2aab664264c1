"""The screen of `monitor`: progress, curves, GPUs, last lines; plain lines without a terminal."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from orchestrator.context import Context
from orchestrator.core import events as ev
from orchestrator.core import runstate
from orchestrator.core.events import Event
from orchestrator.core.hostfacts import Machine
from orchestrator.core.text import duration
from orchestrator.view.console import colours, harmless, sparkline
from orchestrator.view.status import RunReport, gpus, headline


class Screen(Protocol):
    def show(self, report: RunReport, history: Sequence[Event], machine: Machine) -> None:
        """The run now, all of its events, and its host."""


@contextlib.contextmanager
def open_screen(ctx: Context) -> Iterator[Screen]:
    if ctx.json or not ctx.stdout.isatty() or ctx.env.get("TERM") == "dumb":
        yield _Lines(ctx)
        return
    from rich.console import Console  # noqa: PLC0415 - only this screen pays for Rich
    from rich.live import Live  # noqa: PLC0415

    console = Console(file=ctx.stdout, no_color=not colours(ctx.env, ctx.stdout))
    with Live(console=console, auto_refresh=False, transient=False) as live:
        yield _Live(ctx, live)


class _Lines:
    """A line each time something has changed."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._last = ""

    def show(self, report: RunReport, history: Sequence[Event], machine: Machine) -> None:
        if self._ctx.json:
            return
        parts = (f"{runstate.word(report.state)} {headline(report)}", _metrics(report))
        line = "  ".join(part for part in parts if part)
        if line != self._last:
            self._ctx.out(f"{report.facts.id}  {line}")
            self._last = line


class _Live:
    def __init__(self, ctx: Context, live: Any) -> None:
        self._ctx = ctx
        self._live = live

    def show(self, report: RunReport, history: Sequence[Event], machine: Machine) -> None:
        from rich.console import Group  # noqa: PLC0415

        self._live.update(Group(*_parts(report, history, machine, self._ctx.now())), refresh=True)


def _parts(report: RunReport, history: Sequence[Event], machine: Machine, now: float) -> Iterator[Any]:
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    facts, state = report.facts, report.state
    summary = f"  {runstate.word(state)}  {headline(report)}  {_clock(state, now)}"
    yield Text.assemble((facts.id, "bold"), summary)
    if isinstance(state, runstate.Running) and state.of:
        step = state.step or 0
        epoch = f"  epoch {report.epoch:g}" if report.epoch is not None else ""
        row = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=state.of, completed=step, width=40)
        row.add_row(bar, f"{100 * step / state.of:.0f} %{epoch}")
        yield row
    yield from (Text(line, no_wrap=True) for line in _curves(history))
    for event in report.health:
        yield Text(harmless(f"  {event.severity} {event.rule}: {event.message}"), "yellow")
    yield Text(f"  {machine.hostname}: {gpus(machine.gpus)}", "dim")
    for line in facts.log.tail:
        yield Text.from_ansi("  │ " + harmless(line), no_wrap=True, overflow="ellipsis")
    if report.is_going:
        yield Text("  Ctrl-C leaves the run going", "dim")


def _clock(state: runstate.RunState, now: float) -> str:
    if not isinstance(state, runstate.Running):
        return ""
    left = f", {duration(state.eta)} left" if state.eta is not None else ""
    return f"{duration(now - state.since)}{left}"


def _curves(history: Sequence[Event]) -> list[str]:
    """A sparkline a metric: its shape, its least and most, and its latest value."""
    names = [("train", "loss")]
    for event in history:
        if isinstance(event, ev.Metrics) and event.split == "val":
            names += [("val", name) for name in event.values if ("val", name) not in names]
    curves = [(split, name, runstate.series(history, split, name)) for split, name in names[:5]]
    return [f"  {split + ' ' + name:22} {_curve(values)}" for split, name, values in curves if values]


def _curve(values: list[float]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    parts = [f"{min(finite):.3g} to {max(finite):.3g}"] if finite else []
    parts += [f"{len(values) - len(finite)} not finite"] if len(finite) < len(values) else []
    return f"{sparkline(values):32}  {values[-1]:.4g} ({', '.join(parts)})"


def _metrics(report: RunReport) -> str:
    values = report.metrics.get("val") or {}
    return "  ".join(f"val {name} {value:.4g}" for name, value in values.items() if value is not None)
