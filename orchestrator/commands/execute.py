"""Runs the steps of a plan: the only place that does. Every step may be cut and repeated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.commands import inputs, preflight
from orchestrator.context import Context
from orchestrator.core import decode, hostchecks
from orchestrator.core.hostfacts import GpuProcess, HostFacts
from orchestrator.core.plan import CheckStep, CodeStep, DataStep, EnvironmentStep, Plan, StartStep, Step
from orchestrator.errors import UsageError
from orchestrator.source import Source
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host, Refused
from orchestrator.view import plans, transfer


class Executor:
    """One plan on one host; `started` are the facts of the run once it is up.

    `planned`: what the function of that name gives for the facts that the plan was made of.
    """

    def __init__(self, ctx: Context, host: Host, store: Store, trees: Mapping[str, Source]) -> None:
        self.ctx = ctx
        self.host = host
        self.store = store
        self.trees = trees
        self.secrets: dict[str, str] = {}
        self.planned: dict[str, Any] = {}
        self.started: dict[str, Any] = {}

    def run(self, plan: Plan, word: str) -> None:
        for step in plan.steps:
            plans.announce(self.ctx, step)
            started = self.ctx.now()
            if isinstance(step, CheckStep):
                preflight.require_passed(self.ctx, self.host, self.store, step, word)
            else:
                self.take(step)
            self.ctx.detail(f"  {step.title}: {self.ctx.now() - started:.2f} s")

    def take(self, step: Step) -> None:
        """One step that is no check."""
        if isinstance(step, CodeStep) and not step.done:
            self._send_tree(self.trees[step.role])
        elif isinstance(step, DataStep) and not step.done:
            with transfer.bar(self.ctx, step.bytes) as moved:
                self.host.send_data(step.name, step.fingerprint, Path(step.source), moved)
        elif isinstance(step, EnvironmentStep):
            helper.ensure_environment(self.host, step.environment)
        elif isinstance(step, StartStep):
            assert step.spec is not None
            job = step.spec["job"]
            self.started = start(self.host, job, spec=step.spec, secrets=self.secrets, **self.planned)

    def _send_tree(self, tree: Source) -> None:
        """Where what arrived is not what was read here, the digests kept here may be what is wrong."""
        try:
            self.host.send_tree(tree)
        except (Refused, UsageError):
            inputs.digests(self.ctx).forget(tree.folder)
            raise


def planned(facts: HostFacts, share_gpu: bool) -> dict[str, Any]:
    """What a start is judged by on the host: who was there when it was planned, and whether that matters."""
    return {"share_gpu": share_gpu, "known_runs": [run.id for run in facts.live_runs]}


def start(host: Host, job: str, **fields: Any) -> dict[str, Any]:
    """The facts of the run once it is up. Another client that was first is told of as a plan tells it."""
    try:
        seen: dict[str, Any] = host.ask("start", **fields)["run"]
    except Refused as no:
        if no.kind == "running":
            raise hostchecks.already_running(job, no.details["run"]) from None
        if no.kind == "gpu":
            raise hostchecks.gpu_in_use(decode.structs(no.details["processes"], GpuProcess)) from None
        raise
    return seen
