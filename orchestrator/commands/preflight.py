"""The preflight check by the trainer itself; its report is cached by what it depends on."""

from __future__ import annotations

import json
from typing import Any

from orchestrator import process
from orchestrator.commands import jobs
from orchestrator.context import Context
from orchestrator.core.plan import CheckStep
from orchestrator.errors import GpujobError
from orchestrator.store import Store
from orchestrator.targets.base import Host
from orchestrator.view import findings

NO_USABLE_DATA = 65


def require_passed(ctx: Context, host: Host | None, store: Store, step: CheckStep, word: str) -> None:
    """GpujobError where the report has an error; warnings are shown."""
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


def run(
    ctx: Context, host: Host | None, store: Store, step: CheckStep, fresh: bool = False
) -> dict[str, Any]:
    """The report, from the cache where code, configuration, data and environment are the same."""
    known = None if fresh else store.verdict(step.key)
    if known:
        return {**known, "cached": True}
    report = _ask_trainer(ctx, host, step)
    store.keep_verdict(step.key, report)
    return {**report, "cached": False}


def errors(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [finding for finding in report["findings"] if finding["severity"] == "error"]


def _ask_trainer(ctx: Context, host: Host | None, step: CheckStep) -> dict[str, Any]:
    lines: list[str] = []
    progress = findings.Progress(ctx)

    def take(line: str) -> None:
        lines.append(line)
        progress.line(line)

    python, words = step.python or ctx.python, ["check", step.trainer]
    stdin = json.dumps({k: v for k, v in vars(step.request).items() if v is not None}).encode()
    with progress:
        if step.on_client or host is None:
            done = process.trainers(python, words, ctx.env, stdin=stdin, on_line=take)
        else:
            at = step.pythonpath  # as process.trainers has it
            done = host.run([python, "-m", "trainers", *words], stdin, {"PYTHONPATH": at}, take, cwd=at)
    report = jobs.report_of(lines)
    if report is None:
        raise GpujobError("the trainer's check failed", jobs.last_line(done.err), "gpujob doctor")
    return {**report, "unusable": done.code == NO_USABLE_DATA}
