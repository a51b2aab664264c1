"""`gpujob check JOB`: the checks that a deploy makes, without starting anything."""

from __future__ import annotations

from orchestrator import registry
from orchestrator.commands import config, execute, inputs, jobs, trainer
from orchestrator.commands.execute import Outcome
from orchestrator.context import Context
from orchestrator.core import events
from orchestrator.core import plan as planning
from orchestrator.core.plan import CheckStep
from orchestrator.errors import UsageError
from orchestrator.store import Store
from orchestrator.targets.base import Host, Target
from orchestrator.view import plans


def check(
    ctx: Context,
    word: str,
    on: str | None,
    sets: list[str],
    data: list[str],
    fresh: bool,
    list_only: bool = False,
) -> int:
    """Prints the report; 1 when a finding is an error, 0 on warnings. With `list_only`, the checks alone."""
    settings = config.load(ctx)
    job = jobs.load(ctx, word, sets, data)
    if not job.spec.trainer:
        raise UsageError(
            f"{job.spec.name} runs a command of its own, which only it can check",
            "check works for the trainers of gpujob",
            f"gpujob deploy {word} --dry-run",
        )
    if list_only:
        return trainer.list_checks(ctx, job.spec.trainer)
    jobs.require_data(job)
    target = registry.target(ctx, settings, on)
    registry.require_transfer(ctx, target)
    store = Store(ctx.state_dir)
    with target.connect() as host:
        outcome = _run_checks(ctx, target, host, store, job, fresh)
    if outcome.report.tier == "files":
        ctx.warn("no Python on the host has PyTorch: only names, labels and splits were checked")
    if ctx.json:
        ctx.answer(events.to_json(outcome.report, outcome.cached))
    else:
        plans.print_report(ctx, outcome.report, outcome.cached)
    return 1 if outcome.report.errors else 0


def _run_checks(
    ctx: Context, target: Target, host: Host, store: Store, job: jobs.Job, fresh: bool
) -> Outcome:
    """The first outcome with an error, else that of the last check."""
    trees = inputs.sources(ctx, job)
    collected = inputs.collect(ctx, job, trees, target)
    plan = planning.build_check(inputs.with_facts(collected, host, job))
    executor = execute.Executor(ctx, host, store, trees)
    outcome = None
    for step in plan.steps:
        if not isinstance(step, CheckStep):
            executor.take(step)
            continue
        plans.announce(ctx, step)
        outcome = execute.run(ctx, host, store, step, fresh)
        if outcome.report.errors:
            break
    assert outcome, "the plan of a trainer has a check"
    return outcome
