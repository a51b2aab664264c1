"""spec + facts → Plan: ordered steps with their reasons. `--dry-run` prints the object that execute runs."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from orchestrator.core import fitness, interpreters, runjson, space
from orchestrator.core.layout import Layout
from orchestrator.core.runjson import Code, Data, Inputs


@dataclass(frozen=True)
class Step:
    """One thing to do, why, and how much of it; `done`: it is so already."""

    title: str
    reason: str
    done: bool = False
    bytes: int = 0


@dataclass(frozen=True)
class CheckStep(Step):
    """The gate: the trainer looks at data and recipe. `here`: on the laptop, before anything is sent."""

    here: bool = False
    python: str = ""
    pythonpath: str = ""
    request: dict[str, Any] = field(default_factory=dict)
    trainer: str = ""
    key: str = ""


@dataclass(frozen=True)
class CodeStep(Step):
    role: str = ""
    tree: str = ""


@dataclass(frozen=True)
class DataStep(Step):
    """A folder of the laptop to be on the host as it is now."""

    name: str = ""
    source: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class EnvironmentStep(Step):
    """A venv over an interpreter of the host, with what that lacks; `own`: it sees nothing of the host's.

    `requirements` is the text of a file for pip, `keep` a version that it may not replace.
    """

    key: str = ""
    python: str = ""
    packages: tuple[str, ...] = ()
    requirements: str = ""
    keep: str = ""
    own: bool = False


@dataclass(frozen=True)
class StartStep(Step):
    """`spec` is run.json, written once."""

    spec: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    run_id: str
    job: str
    target: str
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    fingerprint: str


def run_id(name: str, now: float, token: str) -> str:
    """`<job>-<UTC yyyymmddThhmmss>-<4 hex>`."""
    return f"{name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}-{token[:4]}"


def make(given: Inputs) -> Plan:
    """The plan, or the reason why there is none (GpujobError)."""
    fitness.refuse_host(given.facts, given.job, given.share_gpu)
    fitness.refuse_logout(given.facts, given.target)
    python = interpreters.pick(given.facts, given.job, given.requirements, given.packages)
    interpreters.refuse_driver(given.facts, given.job, python)
    space.refuse(given)
    steps = gate(given)
    start = StartStep(
        "start in tmux", f"session gpujob-{given.identity.run_id}", spec=runjson.compose(given, python)
    )
    return _plan(given, [*steps, start])


def make_check(given: Inputs) -> Plan:
    """What `gpujob check` does: all that comes before a start, on a host that need not be free."""
    return _plan(given, gate(given))


def gate(given: Inputs) -> list[Step]:
    """Code, data, environment, and the check that stands before a start."""
    steps: list[Step] = []
    sent = [data for data in given.data if data.source]
    if given.trainers and sent:
        steps.append(_check_here(given))
    steps += [_code_step(code, given.facts) for code in (given.code, given.trainers) if code]
    steps += [_data_step(data, given.facts) for data in given.data]
    if given.trainers:
        steps += _trainer_steps(given, given.trainers)
    elif python := _python(given):
        steps.append(_python_step(python))
    return steps


def _plan(given: Inputs, steps: list[Step]) -> Plan:
    told = (given.identity.run_id, given.job.name, given.target, tuple(steps))
    return Plan(*told, _notes(given), fingerprint(given))


def _trainer_steps(given: Inputs, trainers: Code) -> list[Step]:
    """Where no Python has torch, only names, labels and splits can be looked at (a start was refused)."""
    python = _python(given)
    if not python:
        return [_check_there(given, trainers, given.facts["pythons"][0], "files")]
    return [_python_step(python), _check_there(given, trainers, python, "full")]


def _python_step(python: dict[str, Any]) -> Step:
    if "over" not in python:
        title = f"Python {python['version']} at {python['path']}"
        return Step(title, f"it has torch {python['torch']}", done=True)
    has = f"it has torch {python['torch']}" if python.get("torch") else "apart from what the host has"
    lacks = [f"lacks {' and '.join(python['packages'])}"] if python["packages"] and not python["own"] else []
    asked = ["the job's requirements go in"] if python["requirements"] else []
    return EnvironmentStep(
        f"environment over Python {python['version']} at {python['over']}",
        f"{', '.join([has, *lacks, *asked])}; made once",
        key=python["key"],
        python=python["over"],
        packages=tuple(python["packages"]),
        requirements=python["requirements"],
        keep=python["keep"],
        own=python["own"],
    )


def check_key(trainers: str, config: dict[str, Any], data: tuple[Data, ...], python: dict[str, Any]) -> str:
    """What a verdict depends on: code, configuration, data, environment."""
    prints = sorted((d.name, d.path, d.fingerprint) for d in data)
    whole = json.dumps([trainers, config, prints, python], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def _python(given: Inputs) -> dict[str, Any] | None:
    """None also where a trainer finds no torch: then no more than names can be looked at."""
    able = any(python.get("torch") for python in given.facts["pythons"])
    if given.job.trainer and not able and given.requirements is None:
        return None
    return interpreters.pick(given.facts, given.job, given.requirements, given.packages)


def _check_here(given: Inputs) -> CheckStep:
    """Names, labels and splits need no torch: looked at before anything is sent."""
    request = _request(given, {data.name: data.source or data.path for data in given.data}, "files")
    return _check_step("check names, labels and splits here", given, request, here=True)


def _check_there(given: Inputs, trainers: Code, python: dict[str, Any], tier: str) -> CheckStep:
    """With the code, the data and the interpreter that will train."""
    layout = Layout(given.facts["root"])
    request = _request(given, {data.name: data.path for data in given.data}, tier)
    return _check_step(
        "check data and recipe",
        given,
        {**request, "work": layout.cache},
        python=python["path"],
        pythonpath=layout.tree(trainers.tree),
        about=python,
    )


def _request(given: Inputs, folders: dict[str, str], tier: str) -> dict[str, Any]:
    return {"config": given.job.config, "data": folders, "tier": tier}


def _check_step(
    title: str, given: Inputs, request: dict[str, Any], about: dict[str, Any] | None = None, **more: Any
) -> CheckStep:
    assert given.trainers
    config = {"tier": request["tier"], **given.job.config}
    key = check_key(given.trainers.tree, config, given.data, about or {})
    reason = "what would go wrong is found before it costs"
    return CheckStep(title, reason, request=request, trainer=given.job.trainer or "", key=key, **more)


def _code_step(code: Code, facts: dict[str, Any]) -> CodeStep:
    present = code.tree in facts["trees"]
    what = "the trainers" if code.role == "trainers" else "the job's code"
    reason = "the host has this tree" if present else f"tree {code.tree[:12]}, {code.files} files"
    size = 0 if present else code.bytes
    return CodeStep(f"code: {what}", reason, present, size, role=code.role, tree=code.tree)


def _data_step(data: Data, facts: dict[str, Any]) -> Step:
    size = f"{data.files} files, {data.bytes / 2**20:.1f} MiB"
    if data.source:
        present = bool((facts.get("data", {}).get(data.name) or {}).get("present"))
        return DataStep(
            f"data: {data.name}",
            f"{data.source} ({size}), {'the host has it' if present else 'what is not there yet'}",
            present,
            bytes=0 if present else data.bytes,
            name=data.name,
            source=data.source,
            fingerprint=data.fingerprint,
        )
    return Step(f"data: {data.name}", f"{data.path} stands here ({size})", done=True)


def _notes(given: Inputs) -> tuple[str, ...]:
    notes = []
    python = _python(given)
    if given.job.trainer and given.job.resources.gpus and not given.facts["gpus"]:
        notes.append("no GPU on the host: the run will use its CPU")
    elif given.job.trainer and given.job.resources.gpus and python and python.get("cuda", "?") is None:
        notes.append(f"torch {python['torch']} is built without CUDA: the run will use the host's CPU")
    if logout := fitness.at_logout(given.facts):
        notes.append(logout)
    if given.job.limits.max_hours is None:
        notes.append("no limits.max_hours: nothing ends this run but itself")
    return tuple(notes)


def fingerprint(given: Inputs) -> str:
    """Equal for two deploys that would start the same thing: by it an open intent is carried on."""
    trees = [code.tree for code in (given.code, given.trainers) if code]
    prints = sorted((data.name, data.path, data.fingerprint) for data in given.data)
    whole = json.dumps(
        [msgspec.to_builtins(given.job), trees, prints, given.requirements or ""], sort_keys=True
    )
    return hashlib.sha256(whole.encode()).hexdigest()[:32]
