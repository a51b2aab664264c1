"""A deploy on the screen: its plan, its steps and checks while they run, and what to type next."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from orchestrator.context import Context
from orchestrator.core import jsontext, shell
from orchestrator.core.events import CheckReport
from orchestrator.core.plan import CheckStep, Plan, Step
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.text import counted, flow, size
from orchestrator.view import answers
from orchestrator.view.console import Paint, harmless, print_table, table_lines
from orchestrator.view.instances import LaunchRow, print_launch

SHOWN_ID = "<date>-<id>"


def print_plan(ctx: Context, plan: Plan, launch: LaunchRow | None = None) -> None:
    """What deploy would do. Without a run's own time and number: twice gives the same bytes."""
    if ctx.json:
        steps = [_step(step, _stable(step.reason, plan)) for step in plan.steps]
        _answer(ctx, plan.job, plan.target, steps, plan.notes, launch)
        return
    _print_head(ctx, plan.job, plan.target, launch)
    print_table(ctx, [_row(n, step, plan) for n, step in enumerate(plan.steps, 1)])
    first, *others = shell.show_command(list(plan.start.argv)).splitlines() or [""]
    lines = [f"  runs: {first}", *(f"        {line}" for line in others)]
    for line in (*lines, *(f"  note: {note}" for note in plan.notes)):
        for part in flow(line, ctx.columns(ctx.stdout)):
            ctx.out(part)


def print_steps(
    ctx: Context, job: str, target: str, steps: Sequence[Step], launch: LaunchRow | None = None
) -> None:
    """What resuming a run would do."""
    if ctx.json:
        _answer(ctx, job, target, [_step(step, step.reason) for step in steps], (), launch)
        return
    _print_head(ctx, job, target, launch)
    for step in steps:
        ctx.out(f"  {step.title}: {step.reason}")


def _print_head(ctx: Context, job: str, target: str, launch: LaunchRow | None) -> None:
    ctx.out(f"plan: {job} on {target} (nothing is done)")
    if launch:
        print_launch(ctx, launch)


def _answer(
    ctx: Context,
    job: str,
    target: str,
    steps: list[answers.PlanStep],
    notes: Sequence[str],
    launch: LaunchRow | None,
) -> None:
    plan = answers.PlanDetails(
        job=job,
        target=target,
        steps=tuple(steps),
        notes=tuple(notes),
        launch=launch.content if launch else None,
    )
    ctx.answer(answers.Plan(plan=plan))


def _step(step: Step, reason: str) -> answers.PlanStep:
    return answers.PlanStep(title=step.title, reason=reason, done=step.done, bytes=step.bytes)


def print_warnings(ctx: Context, warnings: tuple[str, ...]) -> None:
    """On stderr, before anything is sent."""
    for warning in warnings:
        ctx.warn(f"warning: {warning}")


def announce(ctx: Context, step: Step) -> None:
    """One line a step, as it begins."""
    if ctx.json:
        return
    paint = Paint(ctx.env, ctx.stderr)
    mark = paint("=", "dim") if step.done else paint(">", "green")
    ctx.talk(f"{mark} {step.title}  {paint(step.reason, 'dim')}")


def print_next(ctx: Context, notes: tuple[str, ...], run: RunFacts, target: str, follows: bool) -> None:
    """The run is up: its name on stdout, what to type next on stderr. With --json and a log that
    `follows`, the run's end is the one object to come."""
    if ctx.json:
        if not follows:
            queued = run.queue.place if run.queue else None
            ctx.answer(
                answers.Started(
                    run=run.id, session=run.session, target=target, resumed_from=None, queued=queued
                )
            )
        return
    paint = Paint(ctx.env, ctx.stderr)
    for note in notes:
        ctx.talk(f"note: {note}")
    ctx.out(run.id)
    if run.ended is not None:
        last = run.log.tail[-1] if run.log.tail else "its log is empty"
        ctx.talk(f"{paint('it has ended already', 'yellow')}: {last}\n  gpujob status {run.id}")
        return
    if run.queue:
        where = f"place {run.queue.place} of {run.queue.of}"
        reason = f"; {run.queue.reason}" if run.queue.reason else ""
        ctx.talk(f"{paint('waits', 'cyan')} in the queue of {target}, {where}{harmless(reason)}; next:")
    else:
        ctx.talk(f"{paint('started', 'green')} in tmux session {run.session}; next:")
    name = run.job or run.id
    commands = _NEXT_QUEUED if run.queue else _NEXT
    for line in table_lines(ctx, [[f"gpujob {command} {name}", what] for command, what in commands]):
        ctx.talk(line)


_NEXT_QUEUED = (
    ("status", "its place, and when it is expected to start"),
    ("logs", "waits with it, then prints its log; Ctrl-C leaves it in the queue"),
    ("stop", "removes it from the queue"),
)
_NEXT = (
    ("status", "state, step, last lines, GPUs, disk"),
    ("monitor", "curves and log; Ctrl-C leaves it running"),
    ("fetch", "the best checkpoint, verified"),
)


def _row(number: int, step: Step, plan: Plan) -> list[str]:
    what = "done" if step.done else "would run" if isinstance(step, CheckStep) else "to do"
    amount = size(step.bytes) if step.bytes else ""
    return [f"{number}. {step.title}", what, amount, _stable(step.reason, plan)]


def _stable(text: str, plan: Plan) -> str:
    return text.replace(plan.run_id, f"{plan.job}-{SHOWN_ID}")


_STYLE = {"error": "red", "warning": "yellow", "info": "blue"}


class Progress:
    """One line on a terminal, renewed in place; nothing where there is none. `lines`: what was printed."""

    def __init__(self, ctx: Context) -> None:
        self.lines: list[str] = []
        self._ctx = ctx

    def __enter__(self) -> Progress:
        return self

    def line(self, text: str) -> None:
        """One line of the trainer, which may be an event."""
        self.lines.append(text)
        if not self._ctx.shows_progress:
            return
        try:
            event = jsontext.parse_object(text)
        except jsontext.BadJson:
            return
        if event.get("event") == "progress":
            of = f"/{event['of']}" if event.get("of") else ""
            what = event.get("message") or event.get("phase", "")
            self._ctx.redraw(f"  {what} {event.get('step', '')}{of}")

    def __exit__(self, *error: object) -> None:
        if self._ctx.shows_progress:
            self._ctx.redraw("")


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
            ctx.talk(f"    {finding.fix}")
    ctx.talk("  " + summary(report, cached))


def print_report(ctx: Context, report: CheckReport, cached: bool) -> None:
    """Findings on stderr, the data's tables on stdout."""
    print_findings(ctx, report, cached)
    if report.data is None:
        return
    for table in report.data.tables:
        ctx.out(table.title)
        rows = [list(table.columns), *[[str(cell) for cell in row] for row in table.rows]]
        print_table(ctx, [[harmless(cell) for cell in row] for row in rows])
    for refused in report.data.refused[:20]:
        ctx.out(f"  refused {ctx.short(Path(refused.file))}: {refused.why}")


def summary(report: CheckReport, cached: bool) -> str:
    data = report.data
    samples = f", {data.used} of {data.samples} samples used" if data else ""
    when = "cached report" if cached else f"{report.seconds:.1f} s"
    result = counted(len(report.errors), "error") if report.errors else "passed"
    return f"{counted(len(report.checked), 'check')}{samples}: {result} ({when})"
