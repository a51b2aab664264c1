"""Jobs with an image: which keys go with it, and what a host must have to run them. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.core.hostfacts import Containers, HostFacts
from orchestrator.errors import GpujobError

if TYPE_CHECKING:
    from orchestrator.core.spec import JobSpec

_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:(?:[A-Za-z0-9.-]+(?::\d+)?/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"
    r"|sha256:[0-9a-f]{64})\Z",
    re.ASCII,
)
_EXAMPLE = "image: nvcr.io/nvidia/pytorch:24.10-py3"
_TOOLKIT = "sudo apt-get install -y nvidia-container-toolkit"


def key(image: str) -> str:
    """Names the lock and the log of an image on the host."""
    return hashlib.sha256(f"image {image}".encode()).hexdigest()[:16]


def faults(spec: JobSpec) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Of a job with an image: the key that is wrong, why, and what to write instead."""
    if not _IMAGE.match(spec.image or ""):
        yield ("image",), f"{spec.image!r} is no name of an image", _EXAMPLE
    if spec.trainer is not None:
        yield ("image",), "the included trainers run in the host's Python, not in an image", "remove image"
    others = {
        ("setup",): any(spec.setup),
        ("env", "requirements"): spec.env.requirements is not None,
        ("env", "python"): spec.env.python != "auto",
    }
    for path, is_written in others.items():
        if is_written:
            why = "a run with an image has what the image has"
            yield path, why, f"build it into the image, and remove {'.'.join(path)}"


def require(facts: HostFacts, spec: JobSpec) -> None:
    """GpujobError, with what to install, where the host cannot run a job with an image."""
    engine = facts.containers or Containers(problem="no-engine")
    if engine.problem:
        what, fix = problem(engine)
        raise GpujobError(what, engine.detail or "the job has an image, which a container engine runs", fix)
    if spec.resources.gpus and facts.gpus and not engine.gives_gpus:
        what = f"{engine.kind} on the host cannot give its GPUs to a container"
        raise GpujobError(what, "the NVIDIA container toolkit is not set up", _toolkit(engine))


def problem(engine: Containers) -> tuple[str, str]:
    """What is wrong with the engine of a host, and the command that mends it there."""
    program = engine.detail.partition(":")[0] or "docker"
    return {
        "no-engine": (
            "the host has no docker and no podman",
            "on the host: sudo apt-get install -y docker.io",
        ),
        "engine-denied": (
            f"the user of the host may not use {program}",
            "on the host: sudo usermod -aG docker $USER",
        ),
        "engine-stopped": (
            f"{program} is not running on the host",
            "on the host: sudo systemctl start docker",
        ),
    }.get(engine.problem or "", (f"{program} does not work on the host", f"on the host: {program} info"))


def _toolkit(engine: Containers) -> str:
    if engine.kind == "podman":
        return f"on the host: {_TOOLKIT}; sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
    configure = "sudo nvidia-ctk runtime configure --runtime=docker; sudo systemctl restart docker"
    return f"on the host: {_TOOLKIT}; {configure}"


def row(facts: HostFacts) -> tuple[str, str, str, str]:
    """Of doctor: what, verdict, detail, fix. Only jobs with an image need an engine."""
    engine = facts.containers or Containers(problem="no-engine")
    if engine.problem:
        what, fix = problem(engine)
        return ("containers", "warning", f"{what}: no jobs with an image", fix)
    rootless = ", rootless" if engine.is_rootless else ""
    detail = f"{engine.kind} {engine.version}{rootless}"
    if facts.gpus and not engine.gives_gpus:
        return ("containers", "warning", f"{detail}, without GPUs", _toolkit(engine))
    return ("containers", "ok", detail, "")
