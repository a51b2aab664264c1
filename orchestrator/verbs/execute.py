"""Runs the steps of a plan: the only place that does. Every step may be cut and repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.context import Context
from orchestrator.core.plan import CheckStep, CodeStep, Plan, StartStep, Step
from orchestrator.source import Source
from orchestrator.store import Store
from orchestrator.targets.base import Host
from orchestrator.verbs import check
from orchestrator.view import plans


class Executor:
    """One plan on one host; `started` are the facts of the run once it is up."""

    def __init__(self, ctx: Context, host: Host, store: Store, trees: Mapping[str, Source]) -> None:
        self.ctx = ctx
        self.host = host
        self.store = store
        self.trees = trees
        self.started: dict[str, Any] = {}

    def run(self, plan: Plan, word: str, secrets: dict[str, str]) -> None:
        for step in plan.steps:
            plans.announce(self.ctx, step)
            self._step(step, word, secrets)

    def _step(self, step: Step, word: str, secrets: dict[str, str]) -> None:
        if isinstance(step, CheckStep):
            check.gate(self.ctx, self.host, self.store, step, word)
        elif isinstance(step, CodeStep) and not step.done:
            self.host.send_tree(self.trees[step.role])
        elif isinstance(step, StartStep):
            self.started = self.host.ask("start", spec=step.spec, secrets=secrets)["seen"]
