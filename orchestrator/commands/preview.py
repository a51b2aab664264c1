"""A deploy to an instance that does not exist yet: its plan, its price, the checks before it is paid for."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from orchestrator.commands import inputs, preflight
from orchestrator.commands.jobs import Job
from orchestrator.context import Context
from orchestrator.core import plan as planning
from orchestrator.core.inputs import PlanInputs
from orchestrator.core.plan import CheckStep, Plan, Step
from orchestrator.instances.quote import Quote, quote
from orchestrator.store import Store


class Preview:
    """One job with its inputs on the client; no network, no credential."""

    def __init__(self, ctx: Context, store: Store, region: str, job: Job) -> None:
        self._ctx = ctx
        self._store = store
        self._region = region
        self._job = job

    @cached_property
    def inputs(self) -> PlanInputs:
        """Without facts: what is only known on the instance is unknown in the plan."""
        inputs.refuse_data_on_host(self._job, "ec2")
        return inputs.collect(self._ctx, self._job, inputs.sources(self._ctx, self._job), "ec2")

    @cached_property
    def quote(self) -> Quote:
        size = sum(data.bytes for data in self.inputs.data if data.upload)
        return quote(self._job.spec, self._region, self._ctx.now(), self._ctx.who, size)

    def plan(self, ingress: str) -> Plan:
        """What --dry-run prints."""
        plan = planning.build(self.inputs)
        title = f"launch {' or '.join(self.quote.spec.types)}"
        step = Step(title, "; ".join(self.quote.lines(ingress)[1:]))
        return replace(plan, target="ec2", steps=(step, *plan.steps))

    def check_on_client(self, word: str) -> None:
        """Names, labels and splits, which need no GPU, are checked before one is paid for."""
        for step in planning.preflight_steps(self.inputs):
            if isinstance(step, CheckStep) and step.on_client:
                preflight.require_passed(self._ctx, None, self._store, step, word)
