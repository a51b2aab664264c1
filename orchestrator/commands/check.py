"""`gpujob check JOB`: the checks that a deploy makes, without starting anything."""

from __future__ import annotations

from orchestrator import registry, settings_files
from orchestrator.commands import execute, gather, jobs, trainer
from orchestrator.commands.execute import Outcome
from orchestrator.context import Context
from orchestrator.core import plan as planning
from orchestrator.core.events import CheckReport, Finding
from orchestrator.core.inputs import PlanInputs
from orchestrator.core.plan import CheckStep
from orchestrator.errors import UsageError
from orchestrator.settings_files import Setting
from orchestrator.store import Store
from orchestrator.view import answers, plans


def check(
    ctx: Context,
    word: str,
    on: str | None,
    sets: list[str],
    data: list[str],
    fresh: bool,
    init_from: str | None = None,
    list_only: bool = False,
) -> int:
    """Prints the report; 1 when a finding is an error, 0 on warnings. With `list_only`, the checks alone."""
    settings = settings_files.load(ctx)
    job = jobs.load(ctx, word, sets, data, init_from=init_from)
    if list_only:
        if not job.spec.trainer:
            what = f"{job.spec.name} runs a command of its own: it has no list of checks"
            raise UsageError(what, "", f"gpujob check {word}")
        return trainer.list_checks(ctx, job.spec.trainer)
    jobs.require_data(job)
    if not job.spec.trainer:
        return _check_command(ctx, settings, job, on)
    target = registry.target(ctx, settings, on)
    registry.require_transfer(ctx, target)
    store, trees = Store(ctx.state_dir), gather.sources(ctx, job, settings)
    with target.connect() as host:
        executor = execute.Executor(ctx, host, store, trees)
        outcome = _run_checks(executor, gather.collect(ctx, job, trees, target), job, fresh)
    if outcome.report.tier == "files":
        ctx.warn("no Python on the host has PyTorch: only names, labels and splits were checked")
    if ctx.json:
        fields = {name: getattr(outcome.report, name) for name in outcome.report.__struct_fields__}
        ctx.answer(answers.Check(**fields, cached=outcome.cached))
    else:
        plans.print_report(ctx, outcome.report, outcome.cached)
    return 1 if outcome.report.errors else 0


def _check_command(ctx: Context, settings: dict[str, Setting], job: jobs.Job, on: str | None) -> int:
    """Of a job with a command: what a deploy requires before it sends anything; its notes are warnings."""
    started, checked = ctx.now(), ["job.file", "code.folder", "data.folders"]
    target = registry.target(ctx, settings, on)
    known = gather.collect(ctx, job, gather.sources(ctx, job, settings), target)
    if not target.launches:  # where the host does not exist yet, the deploy checks it
        with target.connect() as host:
            known = gather.with_facts(known, host, job)
        checked += ["host.command", "host.python", "host.space"]
    planning.build(known)
    findings = tuple(Finding("job.warning", "warning", text) for text in known.warnings)
    seconds = ctx.now() - started
    report = CheckReport(tier="command", seconds=seconds, findings=findings, checked=tuple(checked))
    if ctx.json:
        fields = {name: getattr(report, name) for name in report.__struct_fields__}
        ctx.answer(answers.Check(**fields, cached=False))
    else:
        plans.print_report(ctx, report, cached=False)
        ctx.talk(f"next: gpujob deploy {job.file.source} --dry-run")
    return 0


def _run_checks(executor: execute.Executor, known: PlanInputs, job: jobs.Job, fresh: bool) -> Outcome:
    """The first outcome with an error, else that of the last check."""
    ctx, host = executor.ctx, executor.host
    plan = planning.build_check(gather.with_facts(known, host, job))
    plans.print_warnings(ctx, known.warnings)
    outcome = None
    for step in plan.steps:
        if not isinstance(step, CheckStep):
            executor.take(step)
            continue
        plans.announce(ctx, step)
        outcome = execute.run(ctx, host, executor.store, step, fresh)
        if outcome.report.errors:
            break
    assert outcome, "the plan of a trainer has a check"
    return outcome
