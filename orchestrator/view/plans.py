"""A plan before, its steps while they are done, and what to type after."""

from __future__ import annotations

from typing import Any

from orchestrator.context import Context
from orchestrator.core.plan import CheckStep, Plan, Step
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.shell import show
from orchestrator.core.text import size
from orchestrator.view.console import Paint, columns, harmless

SHOWN_ID = "<yyyymmddThhmmss>-<4 hex>"


def print_plan(ctx: Context, plan: Plan) -> None:
    """What deploy would do. Without a run's own time and number: twice gives the same bytes."""
    if ctx.json:
        ctx.answer({"plan": as_dict(plan)})
        return
    ctx.out(f"plan: {plan.job} on {plan.target} (nothing is done)")
    for line in columns([_row(n, step, plan) for n, step in enumerate(plan.steps, 1)]):
        ctx.out(line)
    ctx.out(f"  runs: {show(plan.start.argv)}")
    for note in plan.notes:
        ctx.out(f"  note: {note}")


def as_dict(plan: Plan) -> dict[str, Any]:
    steps = [
        {"title": s.title, "reason": _stable(s.reason, plan), "done": s.done, "bytes": s.bytes}
        for s in plan.steps
    ]
    return {"job": plan.job, "target": plan.target, "steps": steps, "notes": list(plan.notes)}


def announce(ctx: Context, step: Step) -> None:
    """One line a step, as it begins."""
    if ctx.json:
        return
    paint = Paint(ctx.env, ctx.stderr)
    mark = paint("=", "dim") if step.done else paint(">", "green")
    ctx.talk(f"{mark} {step.title}  {paint(step.reason, 'dim')}")


def print_next(ctx: Context, notes: tuple[str, ...], run: RunFacts, follows: bool) -> None:
    """The run is up: its name on stdout, what to type next on stderr. With --json and a log that
    `follows`, the run's end is the one object to come."""
    if ctx.json:
        if not follows:
            ctx.answer({"run": run.id, "session": run.session})
        return
    paint = Paint(ctx.env, ctx.stderr)
    for note in notes:
        ctx.talk(f"note: {note}")
    ctx.out(run.id)
    if run.ended is not None:
        last = run.log.tail[-1] if run.log.tail else "its log is empty"
        ctx.talk(f"{paint('it has ended already', 'yellow')}: {harmless(last)}\n  gpujob status {run.id}")
        return
    ctx.talk(f"{paint('started', 'green')} in tmux session {run.session}; next:")
    for command, what in _NEXT:
        ctx.talk(f"  gpujob {command:28} {what}")


_NEXT = (
    ("status", "state, step, GPUs, disk, last lines"),
    ("monitor --stream", "its log from the first byte; Ctrl-C leaves it running"),
    ("fetch", "the best checkpoint, verified"),
)


def _row(number: int, step: Step, plan: Plan) -> list[str]:
    what = "done" if step.done else "would run" if isinstance(step, CheckStep) else "to do"
    amount = size(step.bytes) if step.bytes else ""
    return [f"{number}.", step.title, what, amount, _stable(step.reason, plan)]


def _stable(text: str, plan: Plan) -> str:
    return text.replace(plan.run_id, f"{plan.job}-{SHOWN_ID}")
