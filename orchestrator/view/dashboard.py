"""The periodic screen of `monitor`: progress, curves, GPUs, last lines; plain lines without a terminal."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Protocol

from orchestrator.context import Context
from orchestrator.core import decode, runstate
from orchestrator.core import events as ev
from orchestrator.core.hostfacts import Gpu
from orchestrator.core.text import duration
from orchestrator.view.console import colours, harmless, sparkline
from orchestrator.view.status import GOING, gpus, headline


class Screen(Protocol):
    def show(self, picture: dict[str, Any]) -> None:
        """One moment: the run as `status --json` describes it, its event lines, its host."""


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

    def show(self, picture: dict[str, Any]) -> None:
        run = picture["run"]
        if self._ctx.json:
            return
        told = [f"{run['state']} {headline(run)}", _metrics(run)]
        line = "  ".join(part for part in told if part)
        if line != self._last:
            self._ctx.out(f"{run['id']}  {line}")
            self._last = line


class _Live:
    def __init__(self, ctx: Context, live: Any) -> None:
        self._ctx = ctx
        self._live = live

    def show(self, picture: dict[str, Any]) -> None:
        from rich.console import Group  # noqa: PLC0415

        self._live.update(Group(*_parts(picture, self._ctx.now())), refresh=True)


def _parts(picture: dict[str, Any], now: float) -> Iterator[Any]:
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    run = picture["run"]
    yield Text.assemble((run["id"], "bold"), f"  {run['state']}  {headline(run)}  {_clock(run, now)}")
    if run["state"] == "running" and run["of"]:
        row = Table.grid(padding=(0, 2))
        row.add_row(ProgressBar(total=run["of"], completed=run["step"] or 0, width=40), _percent(run))
        yield row
    yield from (Text(line, no_wrap=True) for line in _curves(picture["events"]))
    yield from (
        Text(f"  {h['severity']} {h['rule']}: {harmless(h['seen'])}", "yellow") for h in run["health"]
    )
    yield Text(
        f"  {picture['host']['hostname']}: {gpus(decode.structs(picture['host']['gpus'], Gpu))}", "dim"
    )
    yield from (
        Text.from_ansi("  │ " + harmless(line), no_wrap=True, overflow="ellipsis")
        for line in run["last_lines"]
    )
    if run["state"] in GOING:
        yield Text("  Ctrl-C leaves the run going", "dim")


def _clock(run: dict[str, Any], now: float) -> str:
    if run["state"] != "running":
        return ""
    left = f", {duration(run['eta'])} to go" if run["eta"] is not None else ""
    return f"{duration(now - run['since'])}{left}"


def _percent(run: dict[str, Any]) -> str:
    epoch = f"  epoch {run['epoch']:g}" if run["epoch"] is not None else ""
    return f"{100 * (run['step'] or 0) / run['of']:.0f} %{epoch}"


def _curves(lines: list[str]) -> list[str]:
    """A sparkline a metric: its shape, its least and most, and where it stands now."""
    account = ev.parse(lines).events
    wanted = [("train", "loss")]
    for event in account:
        if isinstance(event, ev.Metrics) and event.split == "val":
            wanted += [("val", name) for name in event.values if ("val", name) not in wanted]
    curves = [(split, name, runstate.series(account, split, name)) for split, name in wanted[:5]]
    return [f"  {split + ' ' + name:22} {_curve(values)}" for split, name, values in curves if values]


def _curve(values: list[float]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    told = [f"{min(finite):.3g} to {max(finite):.3g}"] if finite else []
    told += [f"{len(values) - len(finite)} not finite"] if len(finite) < len(values) else []
    return f"{sparkline(values):32}  {values[-1]:.4g} ({', '.join(told)})"


def _metrics(run: dict[str, Any]) -> str:
    found = run["metrics"].get("val") or {}
    return "  ".join(f"val {name} {value:.4g}" for name, value in found.items() if value is not None)
