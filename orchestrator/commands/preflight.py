"""The preflight check by the trainer itself; its report is cached by what it depends on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import msgspec

from orchestrator import process
from orchestrator.commands import jobs
from orchestrator.context import Context
from orchestrator.core import plan as planning
from orchestrator.core.inputs import PlanInputs
from orchestrator.core.plan import CheckStep
from orchestrator.core.report import CheckReport
from orchestrator.errors import GpujobError
from orchestrator.store import Store
from orchestrator.targets.base import Host
from orchestrator.view import findings

NO_USABLE_DATA = 65


@dataclass(frozen=True)
class Outcome:
    """A report, and whether it comes from the cache."""

    report: CheckReport
    cached: bool


def require_passed(ctx: Context, host: Host | None, store: Store, step: CheckStep, word: str) -> None:
    """GpujobError where the report has an error; findings are shown."""
    outcome = run(ctx, host, store, step)
    report = outcome.report
    if report.unusable:
        refused = report.data.refused[:5] if report.data else ()
        why = "; ".join(f"{file.file}: {file.why}" for file in refused)
        raise GpujobError("the data gives no usable sample", why, f"gpujob check {word}")
    findings.print_findings(ctx, report, outcome.cached)
    if errors := report.errors:
        codes = ", ".join(sorted({error.code for error in errors}))
        what = f"the check found {len(errors)} error(s): {codes}"
        raise GpujobError(what, errors[0].message, errors[0].fix)


def check_on_client(ctx: Context, store: Store, inputs: PlanInputs, word: str) -> None:
    """The checks that need no host: names, labels and splits."""
    for step in planning.preflight_steps(inputs):
        if isinstance(step, CheckStep) and step.on_client:
            require_passed(ctx, None, store, step, word)


def run(ctx: Context, host: Host | None, store: Store, step: CheckStep, fresh: bool = False) -> Outcome:
    """The report; from the cache where code, configuration, data and environment are the same."""
    cached = None if fresh else store.find_report(step.key)
    if cached:
        return Outcome(cached, cached=True)
    report = _run(ctx, host, step)
    store.save_report(step.key, report)
    return Outcome(report, cached=False)


def _run(ctx: Context, host: Host | None, step: CheckStep) -> CheckReport:
    lines: list[str] = []
    progress = findings.Progress(ctx)

    def on_line(line: str) -> None:
        lines.append(line)
        progress.line(line)

    python, words = step.python or ctx.python, ["check", step.trainer]
    request = {name: value for name, value in asdict(step.request).items() if value is not None}
    stdin = json.dumps(request).encode()
    with progress:
        if step.on_client or host is None:
            done = process.trainers(python, words, ctx.env, stdin=stdin, on_line=on_line)
        else:
            cwd = step.pythonpath  # as process.trainers has it
            words, env = [python, "-m", "trainers", *words], {"PYTHONPATH": cwd}
            done = host.run(words, stdin, env, on_line, cwd=cwd)
    report = jobs.find_report(lines)
    if report is None:
        raise GpujobError("the trainer's check failed", jobs.last_line(done.err), "gpujob doctor")
    return msgspec.structs.replace(report, unusable=done.code == NO_USABLE_DATA)
