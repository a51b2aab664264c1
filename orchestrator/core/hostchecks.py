"""What a host must offer before a job starts on it: tmux, free GPUs, disk space, a Python. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from orchestrator.core import uvlock
from orchestrator.core.hostfacts import DataCopy, GpuProcess, HostFacts, PythonFacts
from orchestrator.core.inputs import Environment, Interpreter, PlanInputs
from orchestrator.core.layout import Layout
from orchestrator.core.spec import JobSpec
from orchestrator.core.text import counted
from orchestrator.errors import GpujobError

LINGER = "sudo loginctl enable-linger"
LEAST_FREE = 2.0  # GiB for a run whose job does not say what it needs: resources.disk_gb
_FILES_OF_A_RUN = 1000


class _Need(NamedTuple):
    what: str
    bytes: int
    files: int


def require_host(facts: HostFacts, job: JobSpec, share_gpu: bool, queue: bool = False) -> None:
    """GpujobError with the reason why a run of this job cannot start, or with `queue` wait, on that host."""
    if not facts.tmux:
        raise GpujobError(
            "tmux is not installed on the host", "runs live in tmux", "sudo apt-get install -y tmux"
        )
    same_job = [run.id for run in facts.live_runs if run.job == job.name]
    if same_job:
        raise already_running(job.name, same_job[-1])
    queued = [run.id for run in facts.queued_runs if run.job == job.name]
    if queued:
        raise already_queued(job.name, queued[-1])
    if facts.gpu_processes and job.resources.gpus and not (share_gpu or queue):
        raise gpu_in_use(facts.gpu_processes)
    if facts.gpus and len(facts.gpus) < job.resources.gpus:
        why = f"the job needs {counted(job.resources.gpus, 'GPU')} and the host has {len(facts.gpus)}"
        raise GpujobError("the host has too few GPUs", why, f"--set resources.gpus={len(facts.gpus)}")
    model = job.resources.gpu if job.resources.gpus else None
    others = [gpu.name for gpu in facts.gpus or () if model and not is_model(gpu.name, model)]
    if others:
        raise GpujobError(f"the host has no {model}", f"it has {others[0]}", "--set resources.gpu=null")


def is_model(name: str, model: str) -> bool:
    """Whether the driver's `name` of a GPU, such as NVIDIA A100-SXM4-40GB, is of a `model` such as A100."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    return all(word in words for word in re.findall(r"[a-z0-9]+", model.lower()) if re.search(r"\d", word))


def require_linger(facts: HostFacts) -> None:
    """GpujobError where the host would end the run once gpujob disconnects."""
    if facts.logout and facts.logout.kills:
        why = f"KillUserProcesses=yes in logind.conf, and {facts.logout.user} does not linger"
        raise GpujobError(
            "the host would end the run when gpujob logs out",
            why,
            f"on the host: {LINGER} {facts.logout.user}",
        )


def describe_logout(facts: HostFacts) -> str | None:
    """What systemd-logind there would do to a run when its user logs out; None where nothing."""
    if not facts.logout:
        return None
    harm = "ends the processes" if facts.logout.kills else "removes the shared memory"
    user = facts.logout.user
    return f"the host {harm} of {user} at logout; on the host: {LINGER} {user}"


def already_running(job: str, run_id: str) -> GpujobError:
    return GpujobError(
        f"{job} is already running as {run_id}",
        "a job runs once at a time on a target",
        f"gpujob monitor {run_id}, or deploy with --name for a second run",
    )


def already_queued(job: str, run_id: str) -> GpujobError:
    return GpujobError(
        f"{job} already waits in the queue as {run_id}",
        "a job runs once at a time on a target",
        f"gpujob stop {run_id}, or deploy with --name for a second run",
    )


def gpu_in_use(processes: Sequence[GpuProcess]) -> GpujobError:
    who = "; ".join(str(process) for process in processes)
    return GpujobError("a GPU is in use", who, "deploy with --queue to wait for it, or with --share-gpu")


def require_space(inputs: PlanInputs, facts: HostFacts) -> None:
    """GpujobError where the uploads and the run do not fit on the host's disk, with what needs how much."""
    needs = [
        _Need(f"code {tree.tree[:8]}", tree.bytes, tree.files)
        for tree in inputs.trees
        if tree.tree not in facts.trees
    ]
    if inputs.code:
        needs.append(_Need("the run's copy of its code", inputs.code.bytes, inputs.code.files))
    for data in inputs.data:
        copy = facts.uploads.get(data.name)
        if data.is_stored and not (copy and copy.present):
            present = copy or DataCopy()
            missing = max(0, data.bytes - present.bytes), max(0, data.files - present.files)
            needs.append(_Need(f"data {data.name}", *missing))
    _require(facts, [*needs, _run(inputs.job)])


def require_space_for_run(facts: HostFacts, job: JobSpec) -> None:
    """The same for a run whose code and data are on the host."""
    _require(facts, [_run(job)])


def _run(job: JobSpec) -> _Need:
    gib = LEAST_FREE if job.resources.disk_gb is None else job.resources.disk_gb
    return _Need("the run itself", int(gib * 2**30), _FILES_OF_A_RUN)


def _require(facts: HostFacts, needs: list[_Need]) -> None:
    disk = facts.disk
    size, files = sum(need.bytes for need in needs), sum(need.files for need in needs)
    if disk.free < size:
        what = f"the disk of the host is too full: {_gib(size)} are needed, {_gib(disk.free)} are free"
        parts = ", ".join(f"{need.what} {_gib(need.bytes)}" for need in needs if need.bytes >= 1 << 20)
    elif disk.inodes and disk.free_inodes < files:
        what = f"the host's disk takes no more files: {files} are needed, {disk.free_inodes} inodes are free"
        parts = ", ".join(f"{need.what} {need.files}" for need in needs)
    else:
        return
    fix = "free space there, or set GPUJOB_ROOT on the host to a folder on a larger disk"
    raise GpujobError(what, f"below {facts.root}: {parts}", fix)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


SMALL_PACKAGES = ("numpy", "safetensors")  # small: what an environment over the host's torch may add
_TORCH = re.compile(r"^\s*torch\s*($|[=<>!~;@\[#,])", re.MULTILINE)


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


def choose(facts: HostFacts, inputs: PlanInputs) -> Interpreter | None:
    """The interpreter of a job; None for a command that needs no environment.

    With `setup`, it is an environment of its own, into which the script may install.
    """
    python, setup = _without_setup(facts, inputs), inputs.setup
    if setup is None or python is None:
        return python
    if not isinstance(python, Environment):
        python = _environment(facts, python, [], keep=f"torch=={python.torch}" if python.torch else "")
    key = hashlib.sha256(f"{python.key} {setup.digest}".encode()).hexdigest()[:16]
    path = Layout(facts.root).environment(key) + "/bin/python"
    return replace(python, key=key, path=path, setup=setup)


def _without_setup(facts: HostFacts, inputs: PlanInputs) -> Interpreter | None:
    job, packages = inputs.job, inputs.packages
    if inputs.requirements is not None:
        return _with_requirements(facts, job, inputs.requirements, packages)
    if not job.trainer:
        return (_with_torch(facts) or [any_python(facts, job)])[0] if inputs.setup else None
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
    if not facts.pythons and not job.trainer:
        raise GpujobError("there is no python3 on the host", "setup is run in an environment over one")
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
    """With `auto` over the host's torch, which stays as it is; else, and for a lock, isolated from the host's
    packages."""
    is_auto = job.env.python == "auto" and not uvlock.is_locked(requirements)
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
