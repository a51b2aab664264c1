"""Which interpreter of a host runs a job, over which an environment is made, what its GPUs take. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from orchestrator.core.layout import Layout
from orchestrator.core.spec import JobSpec
from orchestrator.errors import GpujobError

BESIDE_TORCH = ("numpy", "safetensors")  # small: what an environment over the host's torch may add
_TORCH = re.compile(r"^\s*torch\s*($|[=<>!~;@\[#,])", re.MULTILINE)
Python = dict[str, Any]


def has_torch(python: Python, packages: Sequence[str] = ()) -> bool:
    """Whether this interpreter has all that the trainers import."""
    return bool(python.get("torch")) and not lacking(python, packages)


def lacking(python: Python, packages: Sequence[str] = ()) -> list[str]:
    """What the trainers (and, by `packages`, one of them) import besides torch and this does not have."""
    return [name for name in (*BESIDE_TORCH, *packages) if not python.get(name)]


def drives(facts: dict[str, Any], python: Python) -> bool:
    """Whether its torch can use the host's GPUs; true where there is none to use.

    A driver runs every wheel built for its CUDA major version and for older ones
    (https://docs.nvidia.com/deploy/cuda-compatibility/).
    """
    if not facts["gpus"]:
        return True
    return bool(python.get("cuda")) and not too_old(facts, python)


def too_old(facts: dict[str, Any], python: Python) -> bool:
    """Whether the driver is older than the CUDA that this torch was built for; false where unknown."""
    driver, wheel = _major(facts.get("cuda_driver")), _major(python.get("cuda"))
    return bool(facts["gpus"] and driver and wheel and driver < wheel)


def pick(
    facts: dict[str, Any], job: JobSpec, requirements: str | None = None, packages: Sequence[str] = ()
) -> Python | None:
    """The interpreter of a job; None for a command that asks for no environment.

    `packages`: what its trainer imports besides what all of them do.

    One with `over` is that of an environment below `env/<key>`, to be made over the interpreter of that path.
    """
    if requirements is not None:
        return _with_requirements(facts, job, requirements, packages)
    if not job.trainer:
        return None
    able = _able(facts, packages)
    if not able:
        raise _no_torch(facts, job)
    best = next((one for one in able if has_torch(one, packages) and drives(facts, one)), able[0])
    return best if has_torch(best, packages) else _over(facts, best, lacking(best, packages))


def refuse_driver(facts: dict[str, Any], job: JobSpec, python: Python | None) -> None:
    """GpujobError where torch would find no GPU because the driver is too old for it."""
    if python and job.resources.gpus and too_old(facts, python):
        where = python.get("over", python["path"])
        driver = next((gpu["driver"] for gpu in facts["gpus"] if gpu.get("driver")), "there")
        raise GpujobError(
            "the NVIDIA driver on the host is too old for its PyTorch",
            f"torch {python['torch']} in {where} is built for CUDA {python['cuda']}; "
            f"driver {driver} runs CUDA {facts['cuda_driver']} at most",
            "a newer driver there, or env.python with an older torch; on the CPU: --set resources.gpus=0",
        )


def _able(facts: dict[str, Any], packages: Sequence[str] = ()) -> list[Python]:
    """Those with torch: that can use the GPUs first, and among these those that lack nothing."""
    found = [python for python in facts["pythons"] if python.get("torch")]
    return sorted(found, key=lambda python: (not drives(facts, python), not has_torch(python, packages)))


def _with_requirements(
    facts: dict[str, Any], job: JobSpec, requirements: str, packages: Sequence[str]
) -> Python:
    """With `auto` over the host's torch, which then stays as it is; else apart from all the host has."""
    if not facts["pythons"]:
        named = "python3" if job.env.python == "auto" else repr(job.env.python)
        raise GpujobError(f"there is no {named} on the host", "env.requirements needs one to stand on")
    able = _able(facts) if job.env.python == "auto" else []
    base = able[0] if able else facts["pythons"][0]
    if job.trainer and not able and not _TORCH.search(requirements):
        raise _no_torch(facts, job)
    extra = lacking(base, packages) if job.trainer else []
    if able:
        return _over(facts, base, extra, requirements, keep=f"torch=={base['torch']}")
    bare = {key: base[key] for key in ("path", "version")}
    imported = [*BESIDE_TORCH, *packages] if job.trainer else []
    return {**_over(facts, bare, imported, requirements), "own": True}


def _over(
    facts: dict[str, Any], base: Python, packages: list[str], requirements: str = "", keep: str = ""
) -> Python:
    whole = json.dumps(
        [base["path"], base["version"], base.get("torch"), packages, requirements.split("\n"), keep]
    )
    key = hashlib.sha256(whole.encode()).hexdigest()[:16]
    path = Layout(facts["root"]).environment(key) + "/bin/python"
    made = {"over": base["path"], "key": key, "packages": packages, "own": False}
    return {**base, **made, "path": path, "requirements": requirements, "keep": keep}


def _no_torch(facts: dict[str, Any], job: JobSpec) -> GpujobError:
    seen = ", ".join(f"{p['path']} ({p['version']})" for p in facts["pythons"]) or "none answered"
    named = f"env.python {job.env.python!r}" if job.env.python != "auto" else "no Python here"
    why = f"{named} has torch; looked at: {seen}"
    return GpujobError("the trainers need PyTorch", why, "pip install torch numpy safetensors")


def _major(version: str | None) -> int:
    head = (version or "").partition(".")[0]
    return int(head) if head.isdigit() else 0
