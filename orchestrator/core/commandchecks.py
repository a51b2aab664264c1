"""Whether a host can run a job's command: its interpreter, and the packages that the code imports. Pure."""

from __future__ import annotations

import re

from orchestrator.core.command import is_python
from orchestrator.core.hostfacts import HostFacts
from orchestrator.core.inputs import Environment, Interpreter, PlanInputs
from orchestrator.core.spec import JobSpec
from orchestrator.errors import GpujobError

_SAME_NAMES = """
    accelerate datasets flax jax lightning numpy pandas scipy tensorflow timm torch torchaudio torchvision
    transformers
"""
FRAMEWORKS = {
    **{name: name for name in _SAME_NAMES.split()},
    "pytorch_lightning": "pytorch-lightning",
    "sklearn": "scikit-learn",
}
"""Packages whose absence ends a training in its first second: name in an import → name for pip."""
_BRING_OTHERS = "numpy pandas scipy"  # nearly every package brings them
_BRING_TORCH = (
    "accelerate deepspeed diffusers fastai lightning monai peft pytorch-lightning sentence-transformers timm "
    "torchaudio torchmetrics torchvision ultralytics vllm xformers"
)
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)


# Programs whose own service, which runs already, then starts what they are given.
_SERVICES = re.compile(
    r"(?:^|[\s;&|/('\"])(tmux|systemd-run|sbatch|qsub|bsub|msub|oarsub|condor_submit|at (?:now|-[fmt])"
    r"|pueue add|pm2 start|supervisorctl start|kubectl (?:apply|create|run)|nomad (?:job )?run|ray job submit"
    r"|(?:(?:docker|podman|nerdctl) run|docker[ -]compose up)(?=[^;&|]*\s(?:-d|--detach)))"
    r"(?=[\s;&|)'\"]|$)"
)


def packages(imports: tuple[str, ...]) -> list[str]:
    """Names for pip of the known packages that the code imports; torch is always looked for."""
    return [FRAMEWORKS[name] for name in imports if name != "torch"]


def commands(job: JobSpec) -> list[str]:
    """What to look for on the host: the first word of the command, and what can stand in for it."""
    first = (job.command or [""])[0]
    if not first or "/" in first:
        return []
    return [first, "python3"] if first == "python" else [first]


def interpreters(job: JobSpec) -> list[str]:
    """The Pythons that may run the command; none where its first word is another program."""
    first = (job.command or [""])[0]
    return (commands(job) or [first]) if is_python(first) else []


def require_command(facts: HostFacts, job: JobSpec, source: str) -> None:
    """GpujobError where the first word of the command is not on the host's PATH."""
    first = (job.command or [""])[0]
    if first not in facts.missing_commands or (first == "python" and facts.has_only_python3):
        return
    what, why = f"there is no command {first!r} on the host", "it is not on the PATH there"
    raise GpujobError(what, why, f"install it there, or write its full path in {source}: command")


def warnings(inputs: PlanInputs, python: Interpreter | None) -> tuple[str, ...]:
    """What differs on this host from what the job needs. `python`: the environment chosen for the job."""
    facts, job = inputs.facts, inputs.job
    if facts is None or not job.command:
        return ()
    messages = []
    if program := _SERVICES.search(" ".join(job.command)):
        why = "gpujob neither sees nor stops what it starts: let the command be the training itself"
        messages.append(f"{program[1]} in the command hands the training to another service, and {why}")
    if job.command[0] == "python" and facts.has_only_python3 and python is None:
        messages.append(f"there is no python on the host: the run uses python3 (command in {inputs.source})")
    if missing := _missing(inputs, facts, python):
        why = "the Python of the run does not have it"
        if inputs.requirements is not None:
            why = "env.requirements does not name it"
        messages.append(f"the code imports {', '.join(missing)}, but {why}: the run may fail at its start")
    return tuple(messages)


def _missing(inputs: PlanInputs, facts: HostFacts, python: Interpreter | None) -> list[str]:
    """Known packages that the code imports and that neither the interpreter nor the requirements have."""
    base = python.base if isinstance(python, Environment) else next(iter(facts.pythons), None)
    if base is None:
        return []
    present = set[str]()
    if not (isinstance(python, Environment) and python.isolated):
        present = {name for name, version in {**base.packages, "torch": base.torch}.items() if version}
    named = {name.lower().replace("_", "-") for name in _REQUIREMENT.findall(inputs.requirements or "")}
    if named & set(_BRING_TORCH.split()):
        named.add("torch")
    if named:
        named |= set(_BRING_OTHERS.split())
    return [name for name in (FRAMEWORKS[one] for one in inputs.imports) if name not in present | named]
