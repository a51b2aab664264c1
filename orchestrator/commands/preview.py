"""A deploy to a box that is still to be launched: its plan, its price, the check before the bill."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from orchestrator.commands import facts, gate
from orchestrator.commands.jobs import Job
from orchestrator.context import Context
from orchestrator.core import plan as planning
from orchestrator.core.plan import CheckStep, Plan
from orchestrator.core.runjson import Inputs
from orchestrator.core.settings import Setting
from orchestrator.instances import prices, quote
from orchestrator.store import Store


class Unborn:
    """The host that a box will be, as far as it can be asked before it exists."""

    label = "ec2"
    is_here = False

    def __init__(self, imagined: dict[str, Any]) -> None:
        self._facts = imagined

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        standing = dict.fromkeys(fields.get("standing", {}))
        return {**self._facts, "standing": standing}

    def pythons(self) -> list[str]:
        return []


class Boxed:
    """One job with its inputs here; no network, no credential."""

    def __init__(self, ctx: Context, store: Store, settings: dict[str, Setting], job: Job) -> None:
        self._ctx = ctx
        self._store = store
        self._region = settings["region"].value
        self._job = job

    @cached_property
    def inputs(self) -> Inputs:
        host = Unborn(quote.imagined(self._job.spec, prices.table()))
        who = facts.identity(self._ctx, self._job.spec.name)
        return facts.inputs(host, self._job, who, facts.sources(self._ctx, self._job))

    @cached_property
    def quote(self) -> quote.Quote:
        size = sum(data.bytes for data in self.inputs.data if data.source)
        ctx = self._ctx
        return quote.quote(self._job.spec, prices.table(), self._region, ctx.now(), ctx.who, size)

    def plan(self, ingress: str) -> Plan:
        """What --dry-run prints."""
        return quote.preview(planning.make(self.inputs), self.quote, ingress)

    def check_here(self, word: str) -> None:
        """Names, labels and splits, which need no GPU, are looked at before one is paid for."""
        for step in planning.gate(self.inputs):
            if isinstance(step, CheckStep) and step.here:
                gate.passes(self._ctx, None, self._store, step, word)
