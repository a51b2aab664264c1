"""Whether a host fits a job now: what it lacks, who is in the way, which interpreter trains. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from orchestrator.core.layout import Layout
from orchestrator.core.spec import JobSpec
from orchestrator.errors import GpujobError

LEAST_FREE = 2 << 30


BESIDE_TORCH = ("numpy", "safetensors")  # small: what an environment over the host's torch may add


def has_torch(python: dict[str, Any]) -> bool:
    """Whether this interpreter has all that the trainers import."""
    return bool(python.get("torch")) and not lacking(python)


def lacking(python: dict[str, Any]) -> list[str]:
    """What the trainers import besides torch and this interpreter does not have."""
    return [name for name in BESIDE_TORCH if not python.get(name)]


def pick_python(facts: dict[str, Any], wanted: str) -> dict[str, Any]:
    """The interpreter that trains: the first that has all, else the first with torch, or the job's own.

    One that lacks something small has `over`: it is used by an environment below `env/<key>`.
    """
    pythons: list[dict[str, Any]] = facts["pythons"]
    able = [python for python in pythons if has_torch(python)] + [p for p in pythons if p.get("torch")]
    if able:
        return able[0] if has_torch(able[0]) else _over(facts, able[0])
    seen = ", ".join(f"{p['path']} ({p['version']})" for p in pythons) or "none answered"
    named = f"env.python {wanted!r}" if wanted != "auto" else "no Python here"
    why = f"{named} has torch; looked at: {seen}"
    raise GpujobError("the trainers need PyTorch", why, "pip install 'gpujob[train]'")


def _over(facts: dict[str, Any], python: dict[str, Any]) -> dict[str, Any]:
    whole = json.dumps([python["path"], python["version"], python["torch"], lacking(python)])
    key = hashlib.sha256(whole.encode()).hexdigest()[:16]
    path = Layout(facts["root"]).environment(key) + "/bin/python"
    return {**python, "path": path, "over": python["path"], "key": key, "packages": lacking(python)}


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
