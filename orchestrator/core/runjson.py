"""run.json, written once: what a run is made of (docs/contract.md). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.core.layout import Layout
from orchestrator.core.spec import JobSpec
from orchestrator.errors import UsageError

_TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


@dataclass(frozen=True)
class Identity:
    """Who and when: all that makes two plans of the same facts differ."""

    run_id: str
    created: float
    who: str
    mark: str
    client: str


@dataclass(frozen=True)
class Code:
    """A tree to be on the host. `role`: job or trainers."""

    role: str
    tree: str
    files: int
    bytes: int
    commit: str | None = None
    dirty: bool = False
    patch: str = ""


@dataclass(frozen=True)
class Data:
    """A data folder: `path` is where the run finds it, `source` the folder here that is sent there."""

    name: str
    path: str
    files: int
    bytes: int
    fingerprint: str
    source: str | None = None


@dataclass(frozen=True)
class Inputs:
    """All that a plan is made of; `facts` are those of onhost/facts.py, `packages` what the trainer imports
    besides what every trainer does."""

    job: JobSpec
    source: str
    target: str
    identity: Identity
    facts: dict[str, Any]
    code: Code | None
    trainers: Code | None
    data: tuple[Data, ...]
    share_gpu: bool = False
    requirements: str | None = None
    packages: tuple[str, ...] = ()


def compose(given: Inputs, python: dict[str, Any] | None) -> dict[str, Any]:
    job, who = given.job, given.identity
    return {
        "v": 1,
        "id": who.run_id,
        "job": job.name,
        "created": who.created,
        "who": who.who,
        "client": who.client,
        "mark": who.mark,
        "source": given.source,
        "trainer": job.trainer,
        "argv": _argv(given, python),
        "env": _env(given, python),
        "python": _told(python),
        "pass_env": job.pass_env,
        "config": job.config,
        "data": {d.name: _record(d) for d in given.data},
        "code": _record(given.code) if given.code else None,
        "trainers": _record(given.trainers) if given.trainers else None,
        "resources": {"gpus": job.resources.gpus},
        "limits": {
            "max_hours": job.limits.max_hours,
            "idle_minutes": job.limits.idle_minutes,
            "grace_seconds": job.limits.grace_seconds,
        },
        "restart": {"max": job.restart.max},
        "outputs": job.outputs,
    }


def _record(of: Code | Data) -> dict[str, Any]:
    return {key: value for key, value in vars(of).items() if key not in ("name", "role")}


def _told(python: dict[str, Any] | None) -> dict[str, Any] | None:
    """The interpreter, and what its environment was made of."""
    names = ("path", "version", "torch", "cuda", "over", "packages", "requirements")
    return {name: python[name] for name in names if python.get(name)} if python else None


def _env(given: Inputs, python: dict[str, Any] | None) -> dict[str, str]:
    found = {}
    if python and "key" in python:  # as if it were activated
        home = python["path"].rpartition("/bin/")[0]
        found = {"VIRTUAL_ENV": home, "PATH": f"{home}/bin:{given.facts['path']}"}
    if given.trainers:
        found["PYTHONPATH"] = Layout(given.facts["root"]).tree(given.trainers.tree)
    return found


def _argv(given: Inputs, python: dict[str, Any] | None) -> list[str]:
    job = given.job
    if job.command:
        return list(job.command)
    if not python or not job.trainer:
        raise UsageError("a job has either a trainer or a command")
    train = ["-m", "trainers", "train", job.trainer]
    processes = min(job.resources.gpus, len(given.facts["gpus"]))
    if processes > 1:
        return [python["path"], *_TORCHRUN, str(processes), *train]
    return [python["path"], *train]
