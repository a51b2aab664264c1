"""`gpujob report RUN...`: writes one HTML file about runs, which needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator import __version__, files
from orchestrator.commands import collect
from orchestrator.commands.collect import RunData
from orchestrator.context import Context
from orchestrator.core import curves
from orchestrator.core.text import counted, size
from orchestrator.errors import Exit, UsageError
from orchestrator.view import compare_answers as answers
from orchestrator.view.report import charts, page
from orchestrator.view.report.page import ReportRun

MOST_RUNS = 50


def report(ctx: Context, words: Sequence[str], on: str | None, to: str | None) -> int:
    """Into ./report-RUN.html unless `to` names a file. A file that is there is replaced."""
    charts.require_library()
    if len(words) > MOST_RUNS:
        what = f"{len(words)} runs; a report shows at most {MOST_RUNS}"
        raise UsageError(what, "", "gpujob runs --sort val.loss")
    reported: list[ReportRun] = []

    def use(data: RunData) -> None:
        ctx.detail(f"  reading the events of {data.id}")
        reported.append(_report_run(len(reported), data, ctx.now()))

    collect.visit(ctx, words or [None], on, use)
    if twice := [
        run.id for number, run in enumerate(reported) if run.id in {r.id for r in reported[:number]}
    ]:
        raise UsageError(f"{twice[0]} is named twice", "", "gpujob report RUN RUN2")
    path = ctx.path(to or f"report-{reported[0].id if len(reported) == 1 else f'{len(reported)}-runs'}.html")
    if path.is_dir():
        path = path / "report.html"
    with ctx.timed("drawing"):
        content = page.render(reported, ctx.now(), __version__).encode("utf-8", errors="replace")
    files.write_result(path, content, ctx.short(path), "gpujob report --to FILE.html")
    if ctx.json:
        ctx.answer(answers.Report(file=str(path), runs=tuple(run.id for run in reported), bytes=len(content)))
        return Exit.DONE
    ctx.out(ctx.short(path))
    points = counted(sum(run.story.points for run in reported), "point")
    ctx.talk(f"{counted(len(reported), 'run')}, {points}, {size(len(content))}; open it in a browser")
    return Exit.DONE


def _report_run(number: int, data: RunData, now: float) -> ReportRun:
    story = curves.read(data.sampled_events())
    seconds = data.facts.used_seconds(now)
    return ReportRun(
        number,
        data.facts,
        data.details,
        story,
        data.state,
        data.target,
        seconds,
        data.cost_usd,
        data.gpus,
        is_fetched=data.folder is not None,
    )
