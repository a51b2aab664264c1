"""`gpujob check JOB`, and the same as the gate of deploy: what would go wrong, before it costs."""

from __future__ import annotations

import json
from typing import Any

from orchestrator import share, source
from orchestrator.context import Context
from orchestrator.core.plan import CheckStep
from orchestrator.errors import GpujobError, UsageError
from orchestrator.store import Store
from orchestrator.targets import registry
from orchestrator.targets.base import Host
from orchestrator.verbs import config, facts, jobs
from orchestrator.view import findings

NO_USABLE_DATA = 65


def check(ctx: Context, word: str, on: str | None, sets: list[str], data: list[str], fresh: bool) -> int:
    """Prints the report; 1 when a finding is an error, 0 on warnings."""
    settings = config.load(ctx)
    job = jobs.load(ctx, word, sets, data)
    if not job.spec.trainer:
        raise UsageError(
            f"{job.spec.name} runs a command of its own, which only it can check",
            "check looks into trainers of ours",
            f"gpujob deploy {word} --dry-run",
        )
    jobs.need_data(job)
    store = Store(ctx.state_dir)
    with registry.target(ctx, settings, on).connect() as host:
        step = facts.check_step(host, job, source.package(share.trainers_package()))
        report = run(ctx, host, store, step, fresh=fresh)
    if step.request["tier"] == "files":
        ctx.talk("no Python here has PyTorch: only names, labels and splits were looked at")
    if ctx.json:
        ctx.out(json.dumps({"schema_version": 1, **report}))
    else:
        findings.print_report(ctx, report)
    return 1 if errors(report) else 0


def gate(ctx: Context, host: Host, store: Store, step: CheckStep, word: str) -> None:
    """Lets a deploy pass, or raises with what was found. Warnings are shown."""
    report = run(ctx, host, store, step)
    wrong = errors(report)
    if not wrong:
        findings.print_findings(ctx, report)
        return
    if report.get("unusable"):
        raise GpujobError(
            "the data gives no usable sample",
            "; ".join(f"{r['file']}: {r['why']}" for r in report["data"]["refused"][:5]),
            f"gpujob check {word}",
        )
    findings.print_findings(ctx, report)
    names = ", ".join(sorted({f["code"] for f in wrong}))
    raise GpujobError(f"the check found {len(wrong)} error(s): {names}", wrong[0]["seen"], wrong[0]["fix"])


def run(ctx: Context, host: Host, store: Store, step: CheckStep, fresh: bool = False) -> dict[str, Any]:
    """The report, from the cache where code, configuration, data and environment are the same."""
    known = None if fresh else store.verdict(step.key)
    if known:
        return {**known, "cached": True}
    report = _ask_trainer(ctx, host, step)
    store.keep_verdict(step.key, report)
    return {**report, "cached": False}


def errors(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [finding for finding in report["findings"] if finding["severity"] == "error"]


def _ask_trainer(ctx: Context, host: Host, step: CheckStep) -> dict[str, Any]:
    lines: list[str] = []
    progress = findings.Progress(ctx)

    def take(line: str) -> None:
        lines.append(line)
        progress.line(line)

    words = [step.python, "-m", "trainers", "check", step.trainer]
    env = {"PYTHONPATH": str(share.trainers_package().parent)}
    with progress:
        done = host.run(words, json.dumps(step.request).encode(), env, take)
    report = jobs.report_of(lines)
    if report is None:
        raise GpujobError("the trainer's check failed", jobs.last_line(done.err), "gpujob doctor")
    return {**report, "unusable": done.code == NO_USABLE_DATA}
