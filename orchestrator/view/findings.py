"""What a check found: its progress while it works, its findings, its tables."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.context import Context
from orchestrator.view.console import Paint, columns, harmless

_STYLE = {"error": "red", "warning": "yellow", "info": "blue"}


class Progress:
    """One line on a terminal, renewed in place; nothing where there is none."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._shown = ctx.shows_progress

    def __enter__(self) -> Progress:
        return self

    def line(self, text: str) -> None:
        """One event line of the trainer."""
        if not self._shown:
            return
        try:
            event = json.loads(text)
        except ValueError:
            return
        if event.get("event") == "progress":
            of = f"/{event['of']}" if event.get("of") else ""
            what = harmless(str(event.get("message") or event.get("phase", "")))
            self._ctx.stderr.write(f"\r\x1b[K  {what} {event.get('step', '')}{of}")
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


def print_findings(ctx: Context, report: dict[str, Any]) -> None:
    """Each finding on stderr: what was seen, and how to mend it."""
    if ctx.json:
        return
    paint = Paint(ctx.env, ctx.stderr)
    for finding in report["findings"]:
        severity, seen = finding["severity"], harmless(finding["seen"])
        if severity == "info":
            seen = textwrap.shorten(seen, 160, placeholder=" …")
        write = ctx.talk if severity == "info" else ctx.warn
        write(f"  {paint(severity, _STYLE[severity])} {finding['code']}: {seen}")
        if finding["fix"] and severity != "info":
            write(f"    {harmless(finding['fix'])}")
    ctx.talk("  " + summary(report))


def print_report(ctx: Context, report: dict[str, Any]) -> None:
    """Findings on stderr, the data's tables on stdout."""
    print_findings(ctx, report)
    data = report.get("data") or {}
    for table in data.get("tables", []):
        ctx.out(table["title"])
        for line in columns([table["columns"], *[[str(c) for c in row] for row in table["rows"]]]):
            ctx.out(harmless(line))
    for refused in data.get("refused", [])[:20]:
        ctx.out(harmless(f"  refused {ctx.short(Path(refused['file']))}: {refused['why']}"))


def summary(report: dict[str, Any]) -> str:
    data, checked = report.get("data") or {}, len(report.get("checked", []))
    samples = f", {data['used']} of {data['found']} samples used" if data else ""
    when = "cached verdict" if report.get("cached") else f"{report.get('seconds', 0):.1f} s"
    worst = sum(f["severity"] == "error" for f in report["findings"])
    return f"{checked} checks{samples}: {'passed' if not worst else f'{worst} error(s)'} ({when})"
