"""Whether a host fits a job now: what it lacks, who is in the way. Pure."""

from __future__ import annotations

from typing import Any

from orchestrator.core.spec import JobSpec
from orchestrator.errors import GpujobError

LINGER = "sudo loginctl enable-linger"


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


def refuse_logout(facts: dict[str, Any], target: str) -> None:
    """A run that would end with our connection is not begun. Of this machine the user himself logs out."""
    logout = facts.get("logout")
    if logout and logout["kills"] and target != "local":
        why = f"KillUserProcesses=yes in logind.conf, and {logout['user']} does not linger"
        raise GpujobError(
            "the host would end the run when we log out", why, f"there: {LINGER} {logout['user']}"
        )


def at_logout(facts: dict[str, Any]) -> str | None:
    """What systemd-logind there would do to a run when its user logs out; None where nothing."""
    logout = facts.get("logout")
    if not logout:
        return None
    harm = "ends the processes" if logout["kills"] else "removes the shared memory"
    return f"the host {harm} of {logout['user']} at logout; there: {LINGER} {logout['user']}"


def already_running(job: str, run: str) -> GpujobError:
    why = "a job runs once at a time on a target"
    return GpujobError(
        f"{job} is already running as {run}",
        why,
        f"gpujob monitor {run}, or deploy with --name to run it beside",
    )


def gpu_in_use(holders: list[dict[str, Any]]) -> GpujobError:
    who = "; ".join(_holder(holder) for holder in holders)
    return GpujobError("a GPU is in use", who, "stop it, or deploy with --share-gpu")


def _refuse_gpus(facts: dict[str, Any], job: JobSpec, share_gpu: bool) -> None:
    have, want = len(facts["gpus"]), job.resources.gpus
    if facts["gpu_holders"] and want and not share_gpu:
        raise gpu_in_use(facts["gpu_holders"])
    if 0 < have < want:
        raise GpujobError(
            f"the job asks for {want} GPUs and the host has {have}", "", "--set resources.gpus=1"
        )


def _holder(holder: dict[str, Any]) -> str:
    """`python of ana (pid 9, 700 MiB, run job-…)`."""
    user = f" of {holder['user']}" if holder.get("user") else ""
    run = f", run {holder['ours']}" if holder.get("ours") else ""
    return f"{holder['name']}{user} (pid {holder['pid']}, {holder['used_mib']} MiB{run})"
