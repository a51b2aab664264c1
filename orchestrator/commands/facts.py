"""Collects what a plan is made of: the job's trees and data here, the host's facts in one question."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from orchestrator import __version__, share, source
from orchestrator.commands.jobs import Job
from orchestrator.context import Context
from orchestrator.core import plan
from orchestrator.core.layout import Layout
from orchestrator.core.runjson import Code, Data, Identity, Inputs
from orchestrator.digests import Digests
from orchestrator.errors import UsageError
from orchestrator.onhost import datafolder
from orchestrator.onhost.datafolder import DataFolder
from orchestrator.source import Source


class Asked(Protocol):
    """As much of a Host as a plan needs."""

    @property
    def label(self) -> str: ...

    @property
    def is_here(self) -> bool: ...

    def ask(self, op: str, **fields: Any) -> dict[str, Any]: ...

    def pythons(self) -> list[str]: ...


def identity(ctx: Context, job: str) -> Identity:
    now, token = ctx.now(), ctx.token()
    return Identity(plan.run_id(job, now, token), now, ctx.who, token, __version__)


def digests(ctx: Context) -> Digests:
    return Digests(ctx.state_dir / "digests", ctx.now)


def sources(ctx: Context, job: Job) -> dict[str, Source]:
    """Trees that the job needs, by role."""
    found = {}
    if job.code_folder:
        found["job"] = source.read(job.code_folder, digests(ctx))
    if job.spec.trainer:
        found["trainers"] = source.package(share.trainers_package())
    return found


def inputs(host: Asked, job: Job, who: Identity, trees: dict[str, Source], share_gpu: bool = False) -> Inputs:
    """One question to the host, the rest is looked up here."""
    codes = {role: _code(role, tree) for role, tree in trees.items()}
    here = {
        name: _described(host, job, name, str(path))
        for name, path in job.data.items()
        if host.is_here or name not in job.on_host
    }
    wanted = {} if host.is_here else {name: found.fingerprint for name, found in here.items()}
    facts = ask(host, job, [code.tree for code in codes.values()], wanted)
    return Inputs(
        job=job.spec,
        source=job.file.source,
        target=host.label,
        identity=who,
        facts=facts,
        code=codes.get("job"),
        trainers=codes.get("trainers"),
        data=tuple(_data(host, job, name, facts, here.get(name)) for name in job.data),
        share_gpu=share_gpu,
        requirements=job.requirements,
        packages=job.packages,
    )


def _described(host: Asked, job: Job, name: str, path: str) -> DataFolder:
    try:
        return datafolder.describe(name, path, to_send=not host.is_here)
    except datafolder.Unsendable as error:
        raise UsageError(
            f"{job.file.where('data', name)}: data.{name} cannot be sent: {error}",
            "links are sent as the files that they lead to",
            f"mend or remove {path}/{error.link}",
        ) from None


def _data(host: Asked, job: Job, name: str, facts: dict[str, Any], found: DataFolder | None) -> Data:
    """Where the run will find it: as it stands, or below the host's `data` once it was sent."""
    if found is None:
        standing = facts["standing"][name]
        if standing is None:
            where = job.file.where("data", name)
            raise UsageError(
                f"{where}: there is no {job.on_host[name]} on {host.label}", "", f"--data {name}=PATH"
            )
        return Data(**standing)
    if host.is_here:
        return Data(**asdict(found))
    there = f"{Layout(facts['root']).data}/{name}/{found.fingerprint}"
    if (path := Path(found.path)).is_file():
        there += f"/{path.name}"
    return Data(**{**asdict(found), "path": there, "source": found.path})


def ask(host: Asked, job: Job, trees: list[str], data: dict[str, str]) -> dict[str, Any]:
    """`data`: fingerprints of what is to be there, by name."""
    wanted = job.spec.env.python
    pythons = host.pythons() if wanted == "auto" else [wanted]
    alone = job.requirements is None
    standing = {} if host.is_here else job.on_host
    first = (job.spec.command or [""])[0]
    commands = [first] if first and "/" not in first and alone else []  # else pip may bring it
    pythons = pythons if job.spec.trainer or not alone else []
    return host.ask(
        "facts",
        trees=trees,
        pythons=pythons,
        standing=standing,
        commands=commands,
        data=data,
        packages=list(job.packages),
    )


def _code(role: str, of: Source) -> Code:
    tree = of.tree
    return Code(role, tree.hash, len(tree.entries), tree.size, of.commit, of.dirty, of.patch)
