"""The screen of `monitor`: progress, curves, GPUs, last lines; plain lines without a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

import msgspec

from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.history import History
from orchestrator.core.hostfacts import Machine
from orchestrator.view.status import RunReport, headline


class Surroundings(msgspec.Struct, frozen=True):
    """What is known of the host. `money`: what its instance cost and costs. `outage`: since when and why its
    host does not answer. `leave`: the words for the key that leaves the screen."""

    money: str = ""
    outage: str = ""
    leave: str = "Ctrl-C leaves the run going"


NOTHING = Surroundings()


class Screen(Protocol):
    @property
    def log_lines(self) -> int:
        """How many of the log's last lines it has room for."""

    def show(
        self, report: RunReport, history: History, machine: Machine, surroundings: Surroundings = NOTHING
    ) -> None:
        """The run now, its curves, and its host."""


@contextlib.contextmanager
def open_screen(ctx: Context) -> Iterator[Screen]:
    if ctx.json or not ctx.stdout.isatty() or ctx.env.get("TERM") == "dumb":
        yield _Lines(ctx)
        return
    from orchestrator.view.live import Picture  # noqa: PLC0415 - only this screen pays for Rich

    with Picture(ctx) as picture:
        yield picture


class _Lines:
    """A line each time something has changed."""

    log_lines = 1

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._last = ""

    def show(
        self, report: RunReport, history: History, machine: Machine, surroundings: Surroundings = NOTHING
    ) -> None:
        if self._ctx.json:
            return
        parts = (f"{runstate.word(report.state)} {headline(report)}", _metrics(report), surroundings.outage)
        line = "  ".join(part for part in parts if part)
        if line != self._last:
            self._ctx.out(f"{report.facts.id}  {line}")
            self._last = line


def _metrics(report: RunReport) -> str:
    values = report.metrics.get("val") or {}
    return "  ".join(f"val {name} {value:.4g}" for name, value in values.items() if value is not None)
