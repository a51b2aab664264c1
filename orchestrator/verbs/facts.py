"""Collects what a plan is made of: the job's trees and data here, the host's facts in one question."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from orchestrator import __version__, datafolder, share, source
from orchestrator.context import Context
from orchestrator.core import plan
from orchestrator.core.plan import CheckStep, Code, Data, Identity, Inputs
from orchestrator.source import Source
from orchestrator.targets.base import Host
from orchestrator.verbs.jobs import Job


def identity(ctx: Context, job: str) -> Identity:
    now, token = ctx.now(), ctx.token()
    return Identity(plan.run_id(job, now, token), now, ctx.who, token, __version__)


def sources(job: Job) -> dict[str, Source]:
    """Trees that the job needs, by role."""
    found = {}
    if job.code_folder:
        found["job"] = source.read(job.code_folder)
    if job.spec.trainer:
        found["trainers"] = source.package(share.trainers_package())
    return found


def data(job: Job) -> tuple[Data, ...]:
    return tuple(Data(**asdict(datafolder.describe(name, path))) for name, path in job.data.items())


def inputs(host: Host, job: Job, who: Identity, trees: dict[str, Source], share_gpu: bool) -> Inputs:
    """One question to the host, the rest is looked up here."""
    codes = {role: _code(role, tree) for role, tree in trees.items()}
    return Inputs(
        job=job.spec,
        source=job.file.source,
        target=host.label,
        identity=who,
        facts=_ask(host, job, [code.tree for code in codes.values()]),
        code=codes.get("job"),
        trainers=codes.get("trainers"),
        data=data(job),
        share_gpu=share_gpu,
    )


def check_step(host: Host, job: Job, trainers: Source) -> CheckStep:
    """The gate alone, for `gpujob check`: no session is planned, so no tmux is asked for.

    Where no Python has torch, its tier is `files`: what names, labels and splits alone can tell.
    """
    facts = _ask(host, job, [])
    tier = "full" if any(plan.has_torch(python) for python in facts["pythons"]) else "files"
    return plan.check_step(job.spec, _code("trainers", trainers), data(job), facts, tier)


def _ask(host: Host, job: Job, trees: list[str]) -> dict[str, Any]:
    wanted = job.spec.env.python
    pythons = host.pythons() if wanted == "auto" else [wanted]
    return host.ask("facts", trees=trees, pythons=pythons if job.spec.trainer else [])


def _code(role: str, of: Source) -> Code:
    tree = of.tree
    return Code(role, tree.hash, len(tree.entries), tree.size, of.commit, of.dirty, of.patch)
