"""What a host must offer before a job starts on it: tmux, free GPUs, disk space. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.core.hostfacts import DataCopy, GpuProcess, HostFacts
from orchestrator.core.inputs import PlanInputs
from orchestrator.core.spec import JobSpec
from orchestrator.errors import GpujobError

LINGER = "sudo loginctl enable-linger"
LEAST_FREE = 2.0  # GiB for a run whose job does not say what it needs: resources.disk_gb
_FILES_OF_A_RUN = 1000


class _Need(NamedTuple):
    what: str
    bytes: int
    files: int


def require_host(facts: HostFacts, job: JobSpec, share_gpu: bool) -> None:
    """GpujobError with the reason why a run of this job cannot start on that host now."""
    if not facts.tmux:
        raise GpujobError(
            "tmux is not installed on the host", "runs live in tmux", "sudo apt-get install -y tmux"
        )
    same_job = [run.id for run in facts.live_runs if run.job == job.name]
    if same_job:
        raise already_running(job.name, same_job[-1])
    if facts.missing_commands:
        raise GpujobError(
            f"there is no command {facts.missing_commands[0]!r} on the host", "it is not on the PATH there"
        )
    if facts.gpu_processes and job.resources.gpus and not share_gpu:
        raise gpu_in_use(facts.gpu_processes)
    if facts.gpus and len(facts.gpus) < job.resources.gpus:
        why = f"the job needs {job.resources.gpus} GPUs and the host has {len(facts.gpus)}"
        raise GpujobError("the host has too few GPUs", why, f"--set resources.gpus={len(facts.gpus)}")


def require_linger(facts: HostFacts) -> None:
    """GpujobError where the host would end the run once gpujob disconnects."""
    if facts.logout and facts.logout.kills:
        why = f"KillUserProcesses=yes in logind.conf, and {facts.logout.user} does not linger"
        raise GpujobError(
            "the host would end the run when we log out", why, f"on the host: {LINGER} {facts.logout.user}"
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


def gpu_in_use(processes: Sequence[GpuProcess]) -> GpujobError:
    who = "; ".join(str(process) for process in processes)
    return GpujobError("a GPU is in use", who, "stop it, or deploy with --share-gpu")


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
        if data.upload and not (copy and copy.present):
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
