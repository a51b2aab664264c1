"""The page of a report: what there is of each run, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from orchestrator.core.curves import Story
from orchestrator.core.hostfacts import Gpu
from orchestrator.core.rundetails import RunDetails
from orchestrator.core.runfacts import GpuUse, RunFacts
from orchestrator.core.text import counted, duration
from orchestrator.core.values import iso
from orchestrator.view.report import charts, provenance, results
from orchestrator.view.report.charts import Chart, Line, number
from orchestrator.view.report.html import NOTHING, Content, Html, details, join, section, table, tag, text
from orchestrator.view.report.style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_BAD = ("failed", "lost", "damaged")
_MOST_NOTES = 40


class ReportRun(msgspec.Struct, frozen=True):
    """A run of a report. `seconds`: how long it used its host. `cost_usd`: None where that is not known."""

    number: int
    facts: RunFacts
    details: RunDetails
    story: Story
    state: str
    target: str
    seconds: float
    cost_usd: float | None = None
    gpus: tuple[Gpu, ...] = ()
    is_fetched: bool = False

    @property
    def id(self) -> str:
        return self.facts.id


def render(runs: Sequence[ReportRun], now: float, version: str) -> str:
    """The whole page. No script, no address: a browser is told to refuse both."""
    title = runs[0].id if len(runs) == 1 else counted(len(runs), "run")
    parts = [
        tag("header", tag("h1", title), _subtitle(runs)),
        section("Runs", _overview(runs)),
        _findings(runs),
        _curves(runs),
        *results.sections(runs),
        section("Time, GPUs and cost", _resources(runs)),
        *provenance.sections(runs),
        _missing(runs),
        tag("footer", tag("small", f"gpujob {version}, {iso(now)}")),
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style>"
    )
    body = text(join(parts))
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def key(run: ReportRun, dashed: bool = False) -> Html:
    """The line that stands for a run in the curves."""
    colour = f"color:var(--c{run.number % charts.COLOURS})"
    return tag("span", class_="key dashed" if dashed else "key", style=colour)


def _subtitle(runs: Sequence[ReportRun]) -> Html:
    jobs = ", ".join(dict.fromkeys(run.details.job or "unknown job" for run in runs))
    trainers = ", ".join(dict.fromkeys(run.details.trainer or "a script of its own" for run in runs))
    return tag("p", f"{jobs} · {trainers}", class_="dim")


def _overview(runs: Sequence[ReportRun]) -> Html:
    metrics = list(dict.fromkeys(f"{s}.{n}" for run in runs for n, s in run.story.curves if s != "train"))[:6]
    head = ["run", "state", "began", "took", "steps", *metrics, "cost"]
    return table(head, [_overview_row(run, metrics) for run in runs], class_="rows")


def _overview_row(run: ReportRun, metrics: Sequence[str]) -> list[Content]:
    values = []
    for name in metrics:
        split, _, metric = name.partition(".")
        curve = run.story.curve(metric, split)
        values.append(number(curve.last if curve else None))
    steps = max((curve.points[-1][0] for curve in run.story.curves.values() if curve.points), default=None)
    return [
        join([key(run), run.id]),
        tag(
            "span",
            run.state,
            class_="bad" if run.state in _BAD else "good" if run.state == "succeeded" else "",
        ),
        (iso(run.details.created) or "unknown").replace("T", " ").rstrip("Z"),
        duration(run.seconds),
        "–" if steps is None else f"{steps:g}",
        *values,
        "–" if run.cost_usd is None else f"${run.cost_usd:.2f}",
    ]


def _findings(runs: Sequence[ReportRun]) -> Html:
    """Each once, with the runs that have it."""
    of_line: dict[str, list[ReportRun]] = {}
    for run in runs:
        for line in _notes(run):
            of_line.setdefault(line.markup, []).append(run)
    if not of_line:
        return section("Findings", tag("p", "No health rule reported anything.", class_="dim"))
    items = [tag("li", Html(line), _whose(some, len(runs))) for line, some in of_line.items()]
    return section("Findings", tag("ul", *items))


def _whose(some: Sequence[ReportRun], count: int) -> Html:
    if count == 1:
        return NOTHING
    names = "all runs" if len(some) == count else ", ".join(run.id for run in some)
    return tag("small", f" ({names})")


def _notes(run: ReportRun) -> Iterator[Html]:
    for note in run.story.notes[:_MOST_NOTES]:
        class_ = {"error": "bad", "warning": "warn"}.get(note.severity, "dim")
        label = tag("b", f"{note.severity} {note.rule}".strip() + ": ", class_=class_)
        yield join([label, note.message])
    if len(run.story.notes) > _MOST_NOTES:
        yield join([f"and {len(run.story.notes) - _MOST_NOTES} more"])
    for fault in run.facts.damage:
        yield join([tag("b", "damaged: ", class_="bad"), fault])
    if run.state in _BAD:
        last = tag("pre", "\n".join(run.facts.log.tail) or "its log is empty")
        yield join([tag("b", f"{run.state}; the end of its log:", class_="bad"), last])
    if run.story.restarts:
        yield join([f"continued {run.story.restarts} times; curves show what was kept"])
    if run.story.end:
        yield join([run.story.end])


def _curves(runs: Sequence[ReportRun]) -> Html:
    figures = [_figure(runs, chart) for chart in charts.charts([run.story.curves for run in runs])]
    if not figures:
        what = "No curve: neither events.jsonl nor the log of a run has progress or metrics."
        return section("Curves", tag("p", what, class_="dim"))
    legend = join([tag("p", *_legend(runs), class_="dim"), *map(_source, runs)])
    return section("Curves", legend, tag("div", *figures, class_="charts"))


def _legend(runs: Sequence[ReportRun]) -> Iterator[Content]:
    if len(runs) > 1:
        for run in runs:
            yield join([key(run), run.id, " "])
    yield join([key(runs[0]), "training ", key(runs[0], dashed=True), "validation and test; by step"])
    if any(run.story.is_by_epoch for run in runs):
        yield ", by epoch where a run counts no steps"


def _source(run: ReportRun) -> Html:
    """Which lines of a log the curves were read from."""
    if not run.facts.from_log:
        return NOTHING
    items = [f"{one.what} ({one.format}): {one.line}" for one in run.facts.from_log]
    title = f"{run.id} wrote no events; its values are those of lines of its log, such as"
    return details(title, tag("pre", "\n".join(items)))


def _figure(runs: Sequence[ReportRun], chart: Chart) -> Html:
    notes = [_line_note(runs, line) for line in chart.lines] if len(chart.lines) <= 4 else []
    odd = sum(line.curve.odd for line in chart.lines)
    if len(chart.lines) > 4:
        low = min(line.curve.low or 0.0 for line in chart.lines)
        high = max(line.curve.high or 0.0 for line in chart.lines)
        notes = [f"{number(low)} to {number(high)}"]
    notes += ["logarithmic"] if chart.is_logarithmic else []
    notes += [f"{odd} values are not finite"] if odd else []
    caption = tag("figcaption", " · ".join(notes))
    return tag(
        "figure", tag("h3", charts.TITLES.get(chart.name, chart.name)), Html(charts.svg(chart)), caption
    )


def _line_note(runs: Sequence[ReportRun], line: Line) -> str:
    curve = line.curve
    who = f"{runs[line.run].id} " if len(runs) > 1 else ""
    return f"{who}{curve.split} {number(curve.last)} ({number(curve.low)} to {number(curve.high)})"


def _resources(runs: Sequence[ReportRun]) -> Html:
    rows: list[list[Content]] = []
    for run in runs:
        attempts = run.facts.state.attempt if run.facts.state else None
        rows.append(
            [
                join([key(run), run.id]),
                run.target,
                duration(run.seconds),
                "–" if attempts is None else str(attempts),
                ", ".join(_gpu(gpu) for gpu in run.gpus) or "none, or not known",
                ", ".join(_use(use) for use in _uses(run)) or "–",
                "–" if run.cost_usd is None else f"${run.cost_usd:.2f}",
            ]
        )
    head = ["run", "host", "time on it", "attempts", "GPUs of the host", "its GPU use, mean and most", "cost"]
    return table(head, rows, class_="rows")


def _uses(run: ReportRun) -> tuple[GpuUse, ...]:
    return run.facts.state.gpu_use if run.facts.state else ()


def _use(use: GpuUse) -> str:
    """`NVIDIA L4 87 %, 12.3 of 22.5 GiB`: the mean of its use, and the most of its memory."""
    mean = f"{use.use_percent:.0f} %" if use.samples and use.use_percent is not None else "? %"
    total = f" of {use.total_mib / 1024:.1f}" if use.total_mib else ""
    most = f", {use.used_mib / 1024:.1f}{total} GiB" if use.used_mib is not None else ""
    return f"{use.name or 'GPU'} {mean}{most}"


def _gpu(gpu: Gpu) -> str:
    total = f" {gpu.total_mib / 1024:.0f} GiB" if gpu.total_mib else ""
    return f"{gpu.name or 'GPU'}{total}"


def _missing(runs: Sequence[ReportRun]) -> Html:
    """What a reader may look for and the runs did not record."""
    columns: dict[str, Callable[[Story], bool]] = {
        "learning rate": lambda story: story.curve("lr") is not None,
        "gradient norm": lambda story: story.curve("grad_norm") is not None,
        "validation metrics": lambda story: any(split != "train" for _, split in story.curves),
        "confusion matrix": lambda story: any(row.confusion for row in story.results.values()),
        "per-class table": lambda story: any(
            row.per_class or row.confusion for row in story.results.values()
        ),
        "worst samples": lambda story: any(row.wrong for row in story.results.values()),
    }
    rows = [
        tag("li", f"{charts.TITLES.get(name, name)} of {run.id}: none of its {curve.odd} values is finite")
        for run in runs
        for (name, _), curve in run.story.curves.items()
        if not curve.points
    ]
    for what, exists in columns.items():
        without = [run.id for run in runs if not exists(run.story)]
        if without:
            rows.append(
                tag("li", f"{what}: not recorded" + (f" by {', '.join(without)}" if runs[1:] else ""))
            )
    if unknown := [run.id for run in runs if not _uses(run)]:
        whose = f" by {', '.join(unknown)}" if runs[1:] else ""
        rows.append(tag("li", f"GPU use: none recorded{whose}"))
    rows += [
        tag("li", f"cost of {run.id}: it ran on no EC2 instance known here")
        for run in runs
        if run.cost_usd is None
    ]
    return section("Not in this report", tag("ul", *rows)) if rows else NOTHING
