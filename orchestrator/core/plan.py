"""spec + facts → Plan: ordered steps with their reasons. `--dry-run` prints the object that execute runs."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from orchestrator.core.layout import Layout
from orchestrator.core.spec import JobSpec
from orchestrator.errors import GpujobError, UsageError

LEAST_FREE = 2 << 30
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
    """All that a plan is made of; `facts` are those of onhost/facts.py."""

    job: JobSpec
    source: str
    target: str
    identity: Identity
    facts: dict[str, Any]
    code: Code | None
    trainers: Code | None
    data: tuple[Data, ...]
    share_gpu: bool = False


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
    refuse_host(given.facts, given.job, given.share_gpu)
    python = _python(given)
    steps = gate(given)
    start = StartStep(
        "start in tmux", f"session gpujob-{given.identity.run_id}", spec=_run_json(given, python)
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
    steps += [_data_step(data) for data in given.data]
    if given.trainers:
        steps += _trainer_steps(given, given.trainers)
    return steps


def _plan(given: Inputs, steps: list[Step]) -> Plan:
    told = (given.identity.run_id, given.job.name, given.target, tuple(steps))
    return Plan(*told, _notes(given), fingerprint(given))


def _trainer_steps(given: Inputs, trainers: Code) -> list[Step]:
    """Where no Python has torch, only names, labels and splits can be looked at (a start was refused)."""
    able = any(has_torch(python) for python in given.facts["pythons"])
    check = _check_there(given, trainers, "full" if able else "files")
    if not able:
        return [check]
    python = pick_python(given.facts, given.job.env.python)
    found = Step(
        f"Python {python['version']} at {python['path']}", f"it has torch {python['torch']}", done=True
    )
    return [found, check]


def check_key(trainers: str, config: dict[str, Any], data: tuple[Data, ...], python: dict[str, Any]) -> str:
    """What a verdict depends on: code, configuration, data, environment."""
    prints = sorted((d.name, d.path, d.fingerprint) for d in data)
    whole = json.dumps([trainers, config, prints, python], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def has_torch(python: dict[str, Any]) -> bool:
    """Whether this interpreter has all that the trainers import."""
    return bool(python.get("torch") and python.get("numpy") and python.get("safetensors"))


def pick_python(facts: dict[str, Any], wanted: str) -> dict[str, Any]:
    """The interpreter that trains: the first with torch, or the one that the job names."""
    pythons: list[dict[str, Any]] = facts["pythons"]
    for python in pythons:
        if has_torch(python):
            return python
    seen = ", ".join(f"{p['path']} ({p['version']})" for p in pythons) or "none answered"
    named = f"env.python {wanted!r}" if wanted != "auto" else "no Python here"
    why = f"{named} has torch, numpy and safetensors; looked at: {seen}"
    raise GpujobError("the trainers need PyTorch", why, "pip install 'gpujob[train]'")


def refuse_host(facts: dict[str, Any], job: JobSpec, share_gpu: bool) -> None:
    """Why a run of this job cannot start on that host now, if so (GpujobError)."""
    if not facts["tmux"]:
        raise GpujobError("tmux is not installed on the host", "", "sudo apt-get install -y tmux")
    going = [run["id"] for run in facts["live"] if run["job"] == job.name]
    if going:
        raise already_running(job.name, going[-1])
    for word in facts.get("absent", []):
        raise GpujobError(f"there is no command {word!r} on the host", "it is not on the PATH there")
    _refuse_gpus(facts, job, share_gpu)
    if facts["disk"]["free"] < LEAST_FREE:
        free = facts["disk"]["free"] / 2**30
        raise GpujobError(f"only {free:.1f} GiB are free below {facts['root']}", "a run needs 2 GiB")


def already_running(job: str, run: str) -> GpujobError:
    why = "a job runs once at a time on a target"
    return GpujobError(
        f"{job} is already running as {run}",
        why,
        f"gpujob monitor {run}, or deploy with --name to run it beside",
    )


def _refuse_gpus(facts: dict[str, Any], job: JobSpec, share_gpu: bool) -> None:
    have, want = len(facts["gpus"]), job.resources.gpus
    if facts["gpu_holders"] and want and not share_gpu:
        who = "; ".join(_holder(holder) for holder in facts["gpu_holders"])
        raise GpujobError("a GPU is in use", who, "stop it, or deploy with --share-gpu")
    if 0 < have < want:
        raise GpujobError(
            f"the job asks for {want} GPUs and the host has {have}", "", "--set resources.gpus=1"
        )


def _holder(holder: dict[str, Any]) -> str:
    """`python of ana (pid 9, 700 MiB, run job-…)`."""
    user = f" of {holder['user']}" if holder.get("user") else ""
    run = f", run {holder['ours']}" if holder.get("ours") else ""
    return f"{holder['name']}{user} (pid {holder['pid']}, {holder['used_mib']} MiB{run})"


def _python(given: Inputs) -> dict[str, Any] | None:
    return pick_python(given.facts, given.job.env.python) if given.job.trainer else None


def _check_here(given: Inputs) -> CheckStep:
    """Names, labels and splits need no torch: looked at before anything is sent."""
    request = _request(given, {data.name: data.source or data.path for data in given.data}, "files")
    return _check_step("check names, labels and splits here", given, request, here=True)


def _check_there(given: Inputs, trainers: Code, tier: str) -> CheckStep:
    """With the code, the data and the interpreter that will train."""
    facts = given.facts
    python = facts["pythons"][0] if tier == "files" else pick_python(facts, given.job.env.python)
    layout = Layout(facts["root"])
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


def _data_step(data: Data) -> Step:
    size = f"{data.files} files, {data.bytes / 2**20:.1f} MiB"
    if data.source:
        return DataStep(
            f"data: {data.name}",
            f"{data.source} ({size}), what is not there yet",
            bytes=data.bytes,
            name=data.name,
            source=data.source,
            fingerprint=data.fingerprint,
        )
    return Step(f"data: {data.name}", f"{data.path} stands here ({size})", done=True)


def _notes(given: Inputs) -> tuple[str, ...]:
    notes = []
    if given.job.trainer and given.job.resources.gpus and not given.facts["gpus"]:
        notes.append("no GPU on the host: the run will use its CPU")
    if given.job.limits.max_hours is None:
        notes.append("no limits.max_hours: nothing ends this run but itself")
    return tuple(notes)


def _run_json(given: Inputs, python: dict[str, Any] | None) -> dict[str, Any]:
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
        "env": _env(given),
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


def _env(given: Inputs) -> dict[str, str]:
    if not given.trainers:
        return {}
    return {"PYTHONPATH": Layout(given.facts["root"]).tree(given.trainers.tree)}


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


def fingerprint(given: Inputs) -> str:
    """Equal for two deploys that would start the same thing: by it an open intent is carried on."""
    trees = [code.tree for code in (given.code, given.trainers) if code]
    prints = sorted((data.name, data.path, data.fingerprint) for data in given.data)
    whole = json.dumps([msgspec.to_builtins(given.job), trees, prints], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:32]
