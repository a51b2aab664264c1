"""Inputs → Plan: ordered steps with their reasons. `--dry-run` prints the object that execute runs. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from orchestrator.core import commandchecks, containers, hostchecks, s3
from orchestrator.core.hostfacts import HostFacts
from orchestrator.core.inputs import CodeTree, DataInput, Environment, Identity, Interpreter, PlanInputs
from orchestrator.core.layout import Layout
from orchestrator.core.runjson import RunJson, argv, compose
from orchestrator.core.spec import to_fingerprint
from orchestrator.core.text import counted


class Step(msgspec.Struct, frozen=True):
    """One thing to do, why, and how much of it; `done`: nothing is left to do."""

    title: str
    reason: str
    done: bool = False
    bytes: int = 0


class CheckRequest(msgspec.Struct, frozen=True):
    """What `python -m trainers check` reads on stdin. `data`: folders by name; `work`: where it may cache."""

    config: dict[str, Any]
    data: dict[str, str]
    tier: str
    work: str | None = None


class CheckStep(Step, frozen=True, kw_only=True):
    """The trainer's preflight check of data and recipe. `on_client`: there, before anything is sent.

    `key`: what the report depends on. `python` and `pythonpath`: the host's, empty while unknown.
    """

    trainer: str
    request: CheckRequest
    key: str
    on_client: bool = False
    python: str = ""
    pythonpath: str = ""


class CodeStep(Step, frozen=True, kw_only=True):
    role: str
    tree: str


class DataStep(Step, frozen=True, kw_only=True):
    """Upload of a folder of the client; with a `listing`, download of its objects by the host."""

    name: str
    source: str
    fingerprint: str
    listing: s3.Listing | None = None


class EnvironmentStep(Step, frozen=True, kw_only=True):
    environment: Environment


class ImageStep(Step, frozen=True, kw_only=True):
    image: str


class StartStep(Step, frozen=True, kw_only=True):
    """`argv`: the command of the run. `spec`: run.json, written once; None while the host is unknown."""

    argv: tuple[str, ...]
    spec: RunJson | None = None


class Plan(msgspec.Struct, frozen=True):
    """`complete`: false while the host does not exist; its interpreter and run.json are unknown then."""

    identity: Identity
    job: str
    target: str
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    fingerprint: str
    complete: bool

    @property
    def run_id(self) -> str:
        return self.identity.run_id

    @property
    def start(self) -> StartStep:
        """The step that starts the run. StopIteration: a plan of checks has none."""
        return next(step for step in self.steps if isinstance(step, StartStep))


def build(inputs: PlanInputs) -> Plan:
    """The plan of a deploy. GpujobError with the reason where the host cannot run the job now."""
    python = _require_startable(inputs, inputs.facts) if inputs.facts else None
    return _plan(inputs, python, [_start_step(inputs, python)])


def build_check(inputs: PlanInputs) -> Plan:
    """The plan of `gpujob check`: everything before a start, on a host that need not be free."""
    facts, finds_torch = inputs.facts, inputs.requirements is not None or not inputs.job.trainer
    if facts and (finds_torch or any(python.torch for python in facts.pythons)):
        return _plan(inputs, hostchecks.choose(facts, inputs), [])
    return _plan(inputs, None, [])  # the host is not known, or only names and labels can be checked there


def _plan(inputs: PlanInputs, python: Interpreter | None, start: list[Step]) -> Plan:
    """`python`: the interpreter of the run, None where it has none or that is unknown."""
    return Plan(
        inputs.identity,
        inputs.job.name,
        inputs.target,
        (*_preflight_steps(inputs, python), *start),
        _notes(inputs, python),
        fingerprint(inputs),
        complete=inputs.facts is not None,
    )


def fingerprint(inputs: PlanInputs) -> str:
    """Equal for two deploys that would start the same thing: the second continues what the first began."""
    trees = [code.tree for code in inputs.trees]
    data = sorted((one.name, one.path_on_host(inputs.root), one.fingerprint) for one in inputs.data)
    content = [to_fingerprint(inputs.job), trees, data, inputs.requirements or ""]
    if inputs.variables:
        content.append(dict(inputs.variables))
    return _digest(json.dumps(content, sort_keys=True))


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _preflight_steps(inputs: PlanInputs, python: Interpreter | None) -> list[Step]:
    """Code, data, environment, and the checks that come before a start."""
    steps: list[Step] = []
    if on_client := check_on_client(inputs):
        steps.append(on_client)
    steps += [_code_step(tree, inputs.facts) for tree in inputs.trees]
    steps += [_data_step(data, inputs.facts) for data in inputs.data]
    if inputs.job.image:
        steps.append(_image_step(inputs.job.image, inputs.facts))
    needs_python = bool(inputs.trainers or inputs.requirements is not None or inputs.setup)
    if python or (inputs.facts is None and needs_python):
        steps.append(_python_step(python))
    if inputs.trainers:
        steps.append(_check_on_host(inputs, inputs.trainers, python))
    return steps


def _require_startable(inputs: PlanInputs, facts: HostFacts) -> Interpreter | None:
    """The interpreter of the run, None where it has none."""
    hostchecks.require_host(facts, inputs.job, inputs.share_gpu, inputs.queue)
    if inputs.job.image:
        containers.require(facts, inputs.job)
    if inputs.job.command:
        commandchecks.require_command(facts, inputs.job, inputs.source)
    if not inputs.survives_logout:
        hostchecks.require_linger(facts)
    python = hostchecks.choose(facts, inputs)
    hostchecks.require_driver(facts, inputs.job, python)
    hostchecks.require_space(inputs, facts)
    return python


def _start_step(inputs: PlanInputs, python: Interpreter | None) -> StartStep:
    title, reason = "start in tmux", f"session gpujob-{inputs.identity.run_id}"
    if inputs.queue:
        title, reason = "start in tmux, or wait in the queue", f"{reason}, once its GPUs are free"
    if inputs.facts is None:
        return StartStep(title, reason, argv=tuple(argv(inputs, "python3")))
    spec = compose(inputs, inputs.facts, python)
    return StartStep(title, reason, argv=tuple(spec.argv), spec=spec)


def _python_step(python: Interpreter | None) -> Step:
    if python is None:
        return Step("Python environment", "chosen on the host: its PyTorch, and what the job needs besides")
    if not isinstance(python, Environment):
        return Step(f"Python {python.version} at {python.path}", f"it has torch {python.torch}", done=True)
    base, reasons = python.base, []
    reasons.append(f"it has torch {python.torch}" if python.torch else "isolated from the host's packages")
    if python.packages and not python.isolated:
        reasons.append(f"lacks {' and '.join(python.packages)}")
    if python.requirements:
        reasons.append("the job's requirements are installed")
    if python.setup:
        reasons.append("setup is run")
    title = f"environment over Python {base.version} at {base.path}"
    return EnvironmentStep(title, f"{', '.join(reasons)}; built once", environment=python)


def check_on_client(inputs: PlanInputs) -> CheckStep | None:
    """Names, labels and splits need no torch: checked before anything is sent. None where nothing is."""
    is_here = not any(data.listing for data in inputs.data)
    if not (inputs.trainers and is_here and any(data.upload for data in inputs.data)):
        return None
    request = CheckRequest(inputs.job.config, {data.name: data.path for data in inputs.data}, "files")
    title = "check names, labels and splits here"
    return _check_step(title, inputs, inputs.trainers, request, None, on_client=True)


def _check_on_host(inputs: PlanInputs, trainers: CodeTree, python: Interpreter | None) -> CheckStep:
    """With the code, the data and the interpreter that will train; without torch names and labels alone."""
    layout, facts, tier = Layout(inputs.root), inputs.facts, "full"
    if facts and not python:
        python, tier = hostchecks.any_python(facts, inputs.job), "files"
    folders = {data.name: data.path_on_host(inputs.root) for data in inputs.data}
    request = CheckRequest(inputs.job.config, folders, tier, layout.cache)
    path = layout.tree(trainers.tree)
    return _check_step("check data and recipe", inputs, trainers, request, python, pythonpath=path)


def _check_step(
    title: str,
    inputs: PlanInputs,
    trainers: CodeTree,
    request: CheckRequest,
    python: Interpreter | None,
    **fields: Any,
) -> CheckStep:
    config = {"tier": request.tier, **request.config}
    data = sorted((one.name, request.data[one.name], one.fingerprint) for one in inputs.data)
    content = json.dumps([trainers.tree, config, data, msgspec.to_builtins(python)], sort_keys=True)
    return CheckStep(
        title,
        "errors are found before they cost time or money",
        trainer=inputs.job.trainer or "",
        request=request,
        key=_digest(content),
        python=python.path if python else "",
        **fields,
    )


def _code_step(code: CodeTree, facts: HostFacts | None) -> CodeStep:
    present = facts is not None and code.tree in facts.trees
    what = "the trainers" if code.role == "trainers" else "the job's code"
    reason = "the host has this tree" if present else f"tree {code.tree[:12]}, {counted(code.files, 'file')}"
    size = 0 if present else code.bytes
    return CodeStep(f"code: {what}", reason, present, size, role=code.role, tree=code.tree)


def _data_step(data: DataInput, facts: HostFacts | None) -> Step:
    size = f"{counted(data.files, 'file')}, {data.bytes / 2**20:.1f} MiB"
    if not data.is_stored:
        return Step(f"data: {data.name}", f"{data.path} is used in place ({size})", done=True)
    copy = facts.uploads.get(data.name) if facts else None
    present = copy is not None and copy.present
    lacks = "the host downloads what it lacks" if data.listing else "what the host lacks is sent"
    return DataStep(
        f"data: {data.name}",
        f"{data.path} ({size}), {'the host has it' if present else lacks}",
        present,
        bytes=0 if present else data.bytes,
        name=data.name,
        source=data.path,
        fingerprint=data.fingerprint,
        listing=data.listing,
    )


def _image_step(image: str, facts: HostFacts | None) -> ImageStep:
    image_id = facts.containers.image_id if facts and facts.containers else None
    short = (image_id or "").removeprefix("sha256:")[:12]
    reason = f"the host has {short}" if image_id else "pulled, unless the host has it"
    return ImageStep(f"image {image}", reason, bool(image_id), image=image)


def _notes(inputs: PlanInputs, python: Interpreter | None) -> tuple[str, ...]:
    """What a user should know before the plan is carried out."""
    notes = list(inputs.warnings)
    job, facts = inputs.job, inputs.facts
    if facts and job.trainer and job.resources.gpus:
        if facts.gpus is None:
            notes.append("the GPUs of the host could not be queried")
        elif not facts.gpus:
            notes.append("no GPU on the host: the run will use its CPU")
        elif python and python.torch and python.cuda is None:
            notes.append(f"torch {python.torch} is built without CUDA: the run will use the host's CPU")
    if facts and (logout := hostchecks.describe_logout(facts)):
        notes.append(logout)
    if job.pass_env:
        notes.append(f"pass_env: the host gets {', '.join(job.pass_env)} of this machine's environment")
    if job.notify and job.notify.is_on:
        notes.append(f"notify: {job.notify.describe()}")
    if job.uses_s3:
        notes.append(s3.note(job.s3, job.outputs))
    if job.limits.max_hours is None:
        notes.append("no limits.max_hours: the run has no time limit")
    return tuple(notes)
