"""Whether what a deploy brings, and the run itself, fit on the host's disk. Pure."""

from __future__ import annotations

from typing import Any

from orchestrator.core.runjson import Inputs
from orchestrator.core.spec import JobSpec
from orchestrator.errors import GpujobError

LEAST_FREE = 2.0  # GiB for a run whose job does not say what it needs: resources.disk_gb
_FILES_OF_A_RUN = 1000
Need = tuple[str, int, int]  # what for, bytes, files


def refuse(given: Inputs) -> None:
    """GpujobError with what is needed, for what, and what there is."""
    codes = [code for code in (given.code, given.trainers) if code]
    needs = [
        (f"code {code.tree[:8]}", code.bytes, code.files) for code in codes if _is_new(code.tree, given.facts)
    ]
    if given.code:
        needs.append(("the run's copy of its code", given.code.bytes, given.code.files))
    for data in given.data:
        there = given.facts.get("data", {}).get(data.name) or {}
        if data.source and not there.get("present"):
            missing = max(0, data.bytes - there.get("bytes", 0)), max(0, data.files - there.get("files", 0))
            needs.append((f"data {data.name}", *missing))
    _refuse(given.facts, [*needs, _of_run(given.job)])


def refuse_run(facts: dict[str, Any], job: JobSpec) -> None:
    """The same for a run whose code and data are there."""
    _refuse(facts, [_of_run(job)])


def _is_new(tree: str, facts: dict[str, Any]) -> bool:
    return tree not in facts["trees"]


def _of_run(job: JobSpec) -> Need:
    asked = job.resources.disk_gb
    return "the run itself", int((LEAST_FREE if asked is None else asked) * 2**30), _FILES_OF_A_RUN


def _refuse(facts: dict[str, Any], needs: list[Need]) -> None:
    disk = facts["disk"]
    size, files = sum(need[1] for need in needs), sum(need[2] for need in needs)
    if disk["free"] < size:
        what = f"the disk of the host is too full: {_gib(size)} are needed, {_gib(disk['free'])} are free"
        told = ", ".join(f"{name} {_gib(count)}" for name, count, _ in needs if count >= 1 << 20)
    elif disk.get("inodes") and disk["free_inodes"] < files:
        what = (
            f"the host's disk takes no more files: {files} are needed, {disk['free_inodes']} inodes are free"
        )
        told = ", ".join(f"{name} {count}" for name, _, count in needs)
    else:
        return
    why = f"below {facts['root']}: {told}"
    raise GpujobError(what, why, "free some there, or set GPUJOB_ROOT there to a folder on a larger disk")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
