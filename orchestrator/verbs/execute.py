"""Runs the steps of a plan: the only place that does. Every step may be cut and repeated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.context import Context
from orchestrator.core.plan import CheckStep, CodeStep, DataStep, EnvironmentStep, Plan, StartStep, Step
from orchestrator.errors import UsageError
from orchestrator.source import Source
from orchestrator.store import Store
from orchestrator.targets.base import Host, Refused
from orchestrator.verbs import facts, gate
from orchestrator.view import plans, transfer


class Executor:
    """One plan on one host; `started` are the facts of the run once it is up."""

    def __init__(self, ctx: Context, host: Host, store: Store, trees: Mapping[str, Source]) -> None:
        self.ctx = ctx
        self.host = host
        self.store = store
        self.trees = trees
        self.secrets: dict[str, str] = {}
        self.started: dict[str, Any] = {}

    def run(self, plan: Plan, word: str) -> None:
        for step in plan.steps:
            plans.announce(self.ctx, step)
            if isinstance(step, CheckStep):
                gate.passes(self.ctx, self.host, self.store, step, word)
            else:
                self.take(step)

    def take(self, step: Step) -> None:
        """One step that is no check."""
        if isinstance(step, CodeStep) and not step.done:
            self._send_tree(self.trees[step.role])
        elif isinstance(step, DataStep) and not step.done:
            with transfer.bar(self.ctx, step.bytes) as moved:
                self.host.send_data(step.name, step.fingerprint, Path(step.source), moved)
        elif isinstance(step, EnvironmentStep):
            of = {"requirements": step.requirements, "keep": step.keep, "own": step.own}
            self.host.ask(
                "make_environment", key=step.key, python=step.python, packages=list(step.packages), **of
            )
        elif isinstance(step, StartStep):
            self.started = self.host.ask("start", spec=step.spec, secrets=self.secrets)["seen"]

    def _send_tree(self, tree: Source) -> None:
        """Where what arrived is not what was read here, the digests kept here may be what is wrong."""
        try:
            self.host.send_tree(tree)
        except (Refused, UsageError):
            facts.digests(self.ctx).forget(tree.folder)
            raise
