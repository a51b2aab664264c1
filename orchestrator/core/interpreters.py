"""Which interpreter of a host runs a job, which environment is built over it, what its GPUs need. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.core.hostfacts import HostFacts, PythonFacts
from orchestrator.core.layout import Layout
from orchestrator.core.spec import JobSpec
from orchestrator.errors import GpujobError

SMALL_PACKAGES = ("numpy", "safetensors")  # small: what an environment over the host's torch may add
_TORCH = re.compile(r"^\s*torch\s*($|[=<>!~;@\[#,])", re.MULTILINE)


@dataclass(frozen=True)
class Environment:
    """A venv below `env/<key>` on the host, built once over the interpreter `base`, with what that lacks.

    `requirements` is the text of a file for pip, `keep` a version that it may not replace. `isolated`: the
    packages of `base` are not visible in it.
    """

    key: str
    path: str
    base: PythonFacts
    packages: tuple[str, ...]
    requirements: str = ""
    keep: str = ""
    isolated: bool = False

    @property
    def torch(self) -> str | None:
        return None if self.isolated else self.base.torch

    @property
    def cuda(self) -> str | None:
        return None if self.isolated else self.base.cuda


Interpreter = PythonFacts | Environment


def has_torch(python: PythonFacts, packages: Sequence[str] = ()) -> bool:
    """Whether this interpreter has everything that the trainers import."""
    return bool(python.torch) and not missing_packages(python, packages)


def missing_packages(python: PythonFacts, packages: Sequence[str] = ()) -> list[str]:
    """What the trainers (and, by `packages`, one of them) import besides torch and this does not have."""
    return [name for name in (*SMALL_PACKAGES, *packages) if not python.packages.get(name)]


def can_use_gpus(facts: HostFacts, python: PythonFacts) -> bool:
    """Whether its torch can use the host's GPUs; true where there is none to use.

    A driver runs every wheel built for its CUDA major version and for older ones
    (https://docs.nvidia.com/deploy/cuda-compatibility/).
    """
    return not facts.gpus or (bool(python.cuda) and not is_driver_too_old(facts, python))


def is_driver_too_old(facts: HostFacts, python: Interpreter) -> bool:
    """Whether the driver is older than the CUDA that this torch was built for; false where unknown."""
    driver, wheel = _major(facts.cuda_driver), _major(python.cuda)
    return bool(facts.gpus and driver and wheel and driver < wheel)


def choose(
    facts: HostFacts, job: JobSpec, requirements: str | None = None, packages: Sequence[str] = ()
) -> Interpreter | None:
    """The interpreter of a job; None for a command that needs no environment.

    `packages`: what its trainer imports besides what all trainers do.
    """
    if requirements is not None:
        return _with_requirements(facts, job, requirements, packages)
    if not job.trainer:
        return None
    candidates = _with_torch(facts, packages)
    if not candidates:
        raise _no_torch(facts, job)
    ready = (one for one in candidates if has_torch(one, packages) and can_use_gpus(facts, one))
    best = next(ready, candidates[0])
    missing = missing_packages(best, packages)
    return _environment(facts, best, missing) if missing else best


def require_driver(facts: HostFacts, job: JobSpec, python: Interpreter | None) -> None:
    """GpujobError where torch would find no GPU because the driver is too old for it."""
    if python and job.resources.gpus and is_driver_too_old(facts, python):
        base = python.base if isinstance(python, Environment) else python
        driver = next((gpu.driver for gpu in facts.gpus or () if gpu.driver), "there")
        raise GpujobError(
            "the NVIDIA driver on the host is too old for its PyTorch",
            f"torch {base.torch} in {base.path} is built for CUDA {base.cuda}; "
            f"driver {driver} runs CUDA {facts.cuda_driver} at most",
            "install a newer driver on the host, set env.python to one with an older torch, "
            "or use the CPU: --set resources.gpus=0",
        )


def any_python(facts: HostFacts, job: JobSpec) -> PythonFacts:
    """One that may lack torch. GpujobError where none answered."""
    if not facts.pythons:
        raise _no_torch(facts, job)
    return facts.pythons[0]


def _with_torch(facts: HostFacts, packages: Sequence[str] = ()) -> list[PythonFacts]:
    """Those with torch: the ones that can use the GPUs first, and among these the complete ones."""
    candidates = [python for python in facts.pythons if python.torch]
    return sorted(candidates, key=lambda one: (not can_use_gpus(facts, one), not has_torch(one, packages)))


def _with_requirements(
    facts: HostFacts, job: JobSpec, requirements: str, packages: Sequence[str]
) -> Environment:
    """With `auto` over the host's torch, which stays as it is; else isolated from the host's packages."""
    is_auto = job.env.python == "auto"
    if not facts.pythons:
        name = "python3" if is_auto else repr(job.env.python)
        raise GpujobError(
            f"there is no {name} on the host", "env.requirements is installed over one", "gpujob doctor"
        )
    candidates = _with_torch(facts) if is_auto else []
    if job.trainer and not candidates and not _TORCH.search(requirements):
        raise _no_torch(facts, job)
    if candidates:
        base = candidates[0]
        missing = missing_packages(base, packages) if job.trainer else []
        return _environment(facts, base, missing, requirements, keep=f"torch=={base.torch}")
    imports = [*SMALL_PACKAGES, *packages] if job.trainer else []
    return _environment(facts, facts.pythons[0], imports, requirements, isolated=True)


def _environment(
    facts: HostFacts,
    base: PythonFacts,
    packages: list[str],
    requirements: str = "",
    keep: str = "",
    isolated: bool = False,
) -> Environment:
    torch = None if isolated else base.torch
    content = json.dumps([base.path, base.version, torch, packages, requirements.split("\n"), keep])
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    path = Layout(facts.root).environment(key) + "/bin/python"
    return Environment(key, path, base, tuple(packages), requirements, keep, isolated)


def _no_torch(facts: HostFacts, job: JobSpec) -> GpujobError:
    tried = ", ".join(f"{python.path} ({python.version})" for python in facts.pythons) or "none"
    name = f"env.python {job.env.python!r}" if job.env.python != "auto" else "no Python on the host"
    return GpujobError(
        "the trainers need PyTorch",
        f"{name} has torch; interpreters: {tried}",
        "pip install torch numpy safetensors",
    )


def _major(version: str | None) -> int:
    head = (version or "").partition(".")[0]
    return int(head) if head.isdigit() else 0
