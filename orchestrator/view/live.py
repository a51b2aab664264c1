"""The picture of `monitor` on a terminal, as wide and as high as it is; no number is ever cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from orchestrator.context import Context
from orchestrator.core import events as ev
from orchestrator.core import runstate
from orchestrator.core.history import History, Series, best
from orchestrator.core.hostfacts import Machine
from orchestrator.core.text import duration, harmless, plain
from orchestrator.view.console import colours, sparkline, stretch
from orchestrator.view.dashboard import NOTHING, Surroundings
from orchestrator.view.gpu_lines import GpuHistory, Words
from orchestrator.view.status import RunReport, headline

_LEAST_CURVE = 8
_HEALTH = 3
_LEAST_LOG = 3  # lines of the log that stay in view, whatever stands above them
_GAP = 2


class Picture:
    """Redraws the run in the terminal's alternate screen; its last state stays on the screen after that."""

    def __init__(self, ctx: Context, console: Console | None = None) -> None:
        self._ctx = ctx
        self._console = console or Console(file=ctx.stdout, no_color=not colours(ctx.env, ctx.stdout))
        self._live = Live(console=self._console, auto_refresh=False, screen=True)
        self._gpus = GpuHistory()
        self.page: RenderableType = ""

    def __enter__(self) -> Picture:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()
        if isinstance(self.page, _Page):
            self._console.print(replace(self.page, tail=self.page.tail[-_LEAST_LOG:], fill=False))

    @property
    def log_lines(self) -> int:
        """How many lines of the log may be shown."""
        return max(_LEAST_LOG, min(100, self._console.height))

    def show(
        self, report: RunReport, history: History, machine: Machine, around: Surroundings = NOTHING
    ) -> None:
        if not around.outage:
            self._gpus.add(machine)
        head = [*_head(report, self._ctx.now())]
        head += [Text(around.outage, "bold yellow")] if around.outage else []
        head += [Text(around.money, "cyan")] if around.money else []
        curves = [_Curve(name, series) for name, series in history.curves()]
        if curves and history.last_step:
            curves.append(_Axis("step", Series(), history.first_step or 0, history.last_step))
        rest = [*_health(report), *self._gpus.lines(machine, self._console.height)]
        tail = [Text.from_ansi(harmless(line)) for line in report.facts.log.tail]
        foot = Text(around.leave if report.is_going else "", "dim")
        self.page = _Page(head, curves, rest, tail, foot, fill=True)
        self._live.update(self.page, refresh=True)


class _Page(msgspec.Struct, frozen=True):
    """From top to bottom: progress, metrics, health and GPUs, the end of the log, the last line.

    What the height does not hold is left out and counted: metrics first, then the oldest lines of the log.
    """

    head: Sequence[RenderableType]
    curves: Sequence[_Curve]
    rest: Sequence[RenderableType]
    tail: Sequence[Text]
    foot: Text
    fill: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def lines(*parts: RenderableType) -> list[list[Segment]]:
            return console.render_lines(Group(*parts), options.update(height=None), pad=False)

        head, rest, foot = lines(*self.head), lines(*self.rest), lines(self.foot)
        texts = [lines(text) for text in self.tail]
        tail = [line for text in texts for line in text]
        rest += lines(Rule("log", style="dim", align="left")) if tail else []
        height = console.height
        room = max(1, height - len(head) - len(rest) - len(foot) - min(_LEAST_LOG, len(tail)))

        def metrics_of(shown: Sequence[_Curve]) -> list[list[Segment]]:
            hidden = sum(not isinstance(curve, _Axis) for curve in self.curves[len(shown) :])
            left = [Text(f"and {hidden} more metrics", "dim")] if hidden else []
            return lines(*([_metrics(shown, options.max_width)] if shown else []), *left)

        shown = list(self.curves[:room])  # each takes a line at least
        metrics = metrics_of(shown)
        while shown and len(metrics) > room:
            shown.pop()
            metrics = metrics_of(shown)
        top = head + metrics + rest
        log = _last_that_fit(texts, max(1, height - len(top) - len(foot)))
        blank: list[list[Segment]] = []
        if self.fill:
            blank = [[Segment("")]] * (height - len(top) - len(log) - len(foot))
        for number, line in enumerate(top + log + blank + foot):
            if number:
                yield Segment.line()
            yield from (Segment(plain(segment.text), segment.style) for segment in line)


def _last_that_fit(texts: Sequence[list[list[Segment]]], room: int) -> list[list[Segment]]:
    """The last texts of which every line fits; of one that is longer than the room, its end."""
    kept: list[list[Segment]] = []
    for text in reversed(texts):
        if kept and len(kept) + len(text) > room:
            break
        kept = text + kept
    return kept[-room:]


class _Curve(msgspec.Struct, frozen=True):
    """One metric over time, and a sparkline that fills the room it gets."""

    name: str
    series: Series

    @property
    def now(self) -> str:
        return f"{self.series.last:.4g}"

    @property
    def best(self) -> str:
        value = best(self.name, self.series)
        return "" if value is None else f"best {value:.4g}"

    @property
    def span(self) -> str:
        """The axis, `0.1 to 2.5`, and how many values are not finite."""
        series = self.series
        parts = [f"{series.low:.3g} to {series.high:.3g}"] if series.low <= series.high else []
        parts += [f"{series.odd} not finite"] if series.odd else []
        return ", ".join(parts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = options.max_width
        yield Text(sparkline(stretch(self.series.values, cells), cells), no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)


class _Axis(_Curve, frozen=True):
    """The steps from the first to the last value, below the curves."""

    first: int
    end: int

    @property
    def now(self) -> str:
        return ""

    @property
    def best(self) -> str:
        return ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        left, right = str(self.first), str(self.end)
        gap = options.max_width - len(left) - len(right)
        yield Text(left + "─" * gap + right if gap > 0 else right[: options.max_width], "dim", no_wrap=True)


def _metrics(curves: Sequence[_Curve], width: int) -> RenderableType:
    """A row each: the name, the latest value, the best, least to most, the curve.

    Where these do not fit, the range is left out, then the best, then the curve; names wrap.
    """
    name = max(cell_len(curve.name) for curve in curves)
    now = max(len(curve.now) for curve in curves)
    span = max(len(curve.span) for curve in curves)
    top = max(len(curve.best) for curve in curves)
    name = min(name, max(1, min(width // 2, width - now - 2 * _GAP - _LEAST_CURVE)))
    has_curve = name + now + 2 * _GAP + _LEAST_CURVE <= width
    has_best = top > 0 and name + now + top + 3 * _GAP + _LEAST_CURVE <= width
    has_span = name + now + top + span + 4 * _GAP + _LEAST_CURVE <= width
    table = Table.grid(padding=(0, _GAP, 0, 0), expand=has_curve)
    table.add_column(width=name, overflow="fold")
    table.add_column(width=now, no_wrap=True, justify="right")
    if has_best:
        table.add_column(width=top, no_wrap=True)
    if has_span:
        table.add_column(width=span, no_wrap=True, style="dim")
    if has_curve:
        table.add_column(ratio=1)
    for curve in curves:
        cells: list[RenderableType] = [Text(curve.name), Text(curve.now, "bold")]
        cells += [Text(curve.best)] if has_best else []
        cells += [Text(curve.span)] if has_span else []
        cells += [curve] if has_curve else []
        table.add_row(*cells)
    return table


def _head(report: RunReport, now: float) -> Iterator[RenderableType]:
    state = report.state
    has_bar = isinstance(state, runstate.Running) and state.of
    words = (runstate.word(state), "" if has_bar else headline(report), _clock(state, now))
    yield Words([Text(report.facts.id, "bold"), *(Text(word) for word in words if word)])
    if isinstance(state, runstate.Running) and state.of:
        row = Table.grid(padding=(0, _GAP, 0, 0), expand=True)
        row.add_column(ratio=1)
        row.add_column()
        row.add_row(ProgressBar(total=state.of, completed=state.step or 0), headline(report))
        yield row


def _clock(state: runstate.RunState, now: float) -> str:
    if not isinstance(state, runstate.Running):
        return ""
    left = f", {duration(state.eta)} left" if state.eta is not None else ""
    return f"{duration(now - state.since)}{left}"


def _health(report: RunReport) -> Iterator[RenderableType]:
    """The latest few, and the latest warning; `status` has all."""
    events = report.health
    for event in events[-_HEALTH:]:
        yield Text(f"{event.severity} {event.rule}: {event.message}", "yellow")
    if warned := ev.last(report.facts.events, ev.Warned):
        yield Text(f"warning: {warned.message}", "yellow")
    if events[_HEALTH:]:
        yield Text(f"and {len(events) - _HEALTH} more: gpujob status {report.facts.id}", "yellow")
