"""Who else is on this host: looked at again when a run starts, since other clients deploy here too."""

from __future__ import annotations

from typing import Any, Sequence

from orchestrator.core.layout import Layout
from orchestrator.onhost import facts, gpus, jsonfile, look, proc
from orchestrator.onhost.answers import Refused


def live(layout: Layout) -> list[dict[str, Any]]:
    """Runs that have a process: id and job."""
    marks = proc.by_mark()
    seen = [look.one(layout, run_id, 0, set(), marks, brief=True) for run_id in look.run_ids(layout)]
    return [
        {"id": run["id"], "job": (run["run"] or {}).get("job")}
        for run in seen
        if run and (run["supervised"] or run["pids"])
    ]


def refuse(layout: Layout, spec: dict[str, Any], share_gpu: bool, beside: Sequence[str] | None) -> None:
    """Refused where a plan made now would be; `about` says who is in the way.

    `beside`: the runs that were live when it was planned. One that began since may not hold its GPU yet.
    """
    others = [run for run in live(layout) if run["id"] != spec["id"]]
    for run in others:
        if run["job"] == spec.get("job", ""):
            raise Refused("running", "%s is already running as %s" % (run["job"], run["id"]), run=run["id"])
    if share_gpu or not _wants_gpu(spec) or not gpus.sample():
        return
    begun = [] if beside is None else [run["id"] for run in others if run["id"] not in beside]
    holders = facts.gpu_holders() or [one for run_id in begun for one in _will_hold(layout, run_id)]
    if holders:
        raise Refused("gpu", "a GPU is in use", holders=holders)


def _will_hold(layout: Layout, run_id: str) -> list[dict[str, Any]]:
    """The holder that a run is to be; none where it asks for no GPU."""
    paths = layout.run(run_id)
    spec, state = jsonfile.load(paths.run_json) or {}, jsonfile.load(paths.state) or {}
    if not _wants_gpu(spec):
        return []
    pid = (state.get("child") or {}).get("pid")
    return [{"name": spec["argv"][0], "pid": pid, "used_mib": 0, "ours": run_id}]


def _wants_gpu(spec: dict[str, Any]) -> bool:
    return bool((spec.get("resources") or {}).get("gpus"))
