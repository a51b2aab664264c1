"""The report of a check: its progress while it runs, its findings, its tables."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from types import TracebackType

from orchestrator.context import Context
from orchestrator.core.report import CheckReport
from orchestrator.view.console import Paint, columns, harmless

_STYLE = {"error": "red", "warning": "yellow", "info": "blue"}


class Progress:
    """One line on a terminal, renewed in place; nothing where there is none."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._shown = not ctx.json and ctx.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def line(self, text: str) -> None:
        """One event line of the trainer."""
        if not self._shown:
            return
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(event, dict) and event.get("event") == "progress":
            of = f"/{event['of']}" if event.get("of") else ""
            what = event.get("message") or event.get("phase", "")
            self._ctx.stderr.write("\r\x1b[K" + harmless(f"  {what} {event.get('step', '')}{of}"))
            self._ctx.stderr.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            self._ctx.stderr.write("\r\x1b[K")
            self._ctx.stderr.flush()


def print_findings(ctx: Context, report: CheckReport, cached: bool) -> None:
    """Each finding on stderr, with its fix."""
    if ctx.json:
        return
    paint = Paint(ctx.env, ctx.stderr)
    for finding in report.findings:
        message, severity = harmless(finding.message), finding.severity
        if severity == "info":
            message = textwrap.shorten(message, 160, placeholder=" …")
        ctx.talk(f"  {paint(severity, _STYLE.get(severity, 'yellow'))} {finding.code}: {message}")
        if finding.fix and severity != "info":
            ctx.talk(f"    {harmless(finding.fix)}")
    ctx.talk("  " + summary(report, cached))


def print_report(ctx: Context, report: CheckReport, cached: bool) -> None:
    """Findings on stderr, the data's tables on stdout."""
    print_findings(ctx, report, cached)
    if report.data is None:
        return
    for table in report.data.tables:
        ctx.out(table.title)
        for line in columns([list(table.columns), *[[str(cell) for cell in row] for row in table.rows]]):
            ctx.out(harmless(line))
    for refused in report.data.refused[:20]:
        ctx.out(harmless(f"  refused {ctx.short(Path(refused.file))}: {refused.why}"))


def summary(report: CheckReport, cached: bool) -> str:
    data = report.data
    samples = f", {data.used} of {data.samples} samples used" if data else ""
    when = "cached report" if cached else f"{report.seconds:.1f} s"
    errors = len(report.errors)
    return f"{len(report.checked)} checks{samples}: {f'{errors} error(s)' if errors else 'passed'} ({when})"
