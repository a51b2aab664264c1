"""`gpujob check JOB`: what would go wrong, before it costs; the same that a deploy makes sure of."""

from __future__ import annotations

from typing import Any

from orchestrator import registry
from orchestrator.commands import config, execute, inputs, jobs, preflight, trainer
from orchestrator.context import Context
from orchestrator.core import plan as planning
from orchestrator.core.plan import CheckStep
from orchestrator.errors import UsageError
from orchestrator.store import Store
from orchestrator.targets.base import Host
from orchestrator.view import findings, plans


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
            "check looks into trainers of ours",
            f"gpujob deploy {word} --dry-run",
        )
    if list_only:
        return trainer.list_checks(ctx, job.spec.trainer)
    jobs.need_data(job)
    target = registry.target(ctx, settings, on)
    registry.require_transfer(ctx, target)
    store = Store(ctx.state_dir)
    with target.connect() as host:
        reports = _reports(ctx, host, store, job, fresh)
    report = next((report for report in reports if preflight.errors(report)), reports[-1])
    if report.get("tier") == "files":
        ctx.warn("no Python there has PyTorch: only names, labels and splits were looked at")
    if ctx.json:
        ctx.answer(report)
    else:
        findings.print_report(ctx, report)
    return 1 if preflight.errors(report) else 0


def _reports(ctx: Context, host: Host, store: Store, job: jobs.Job, fresh: bool) -> list[dict[str, Any]]:
    """The reports of all checks that a deploy would make, up to the first with an error."""
    trees = inputs.sources(ctx, job)
    collected = inputs.collect(ctx, job, trees, host.label, is_local=host.is_local)
    plan = planning.build_check(inputs.with_facts(collected, host, job))
    executor = execute.Executor(ctx, host, store, trees)
    found: list[dict[str, Any]] = []
    for step in plan.steps:
        if isinstance(step, CheckStep):
            plans.announce(ctx, step)
            found.append(preflight.run(ctx, host, store, step, fresh))
            if preflight.errors(found[-1]):
                break
        else:
            executor.take(step)
    return found
