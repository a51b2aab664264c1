"""Checks on the host whether a run may start, since several clients may deploy to the host."""

from __future__ import annotations

from typing import Sequence

from orchestrator.core.layout import Layout
from orchestrator.onhost import allocation, gpus, host_facts, processes, run_facts, run_queue
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.gpus import GpuProcess
from orchestrator.onhost.records import RunSpec, State
from orchestrator.onhost.run_facts import RunFacts


def live_runs(layout: Layout) -> list[RunFacts]:
    """Returns the runs that have a live process or supervisor; log and events are not read."""
    alive = processes.snapshot()
    runs = (run_facts.find(layout, name, 0, set(), alive, True, {}) for name in run_facts.run_ids(layout))
    return [run for run in runs if run and run.is_alive]


def require_none(layout: Layout, spec: RunSpec, share_gpu: bool, known_runs: Sequence[str] | None) -> None:
    """Raises Refused if a run of the same job is live, or a GPU that the run needs is in use.

    `details` name the run or the processes. `known_runs`: ids of the runs that were live when this start was
    planned. A run that has started since then counts as using a GPU, even if it does not use it yet.
    """
    others = require_no_other(layout, spec)
    if share_gpu or not spec.gpus or not gpus.sample():
        return
    new = [] if known_runs is None else [run.id for run in others if run.id not in known_runs]
    new += [run.id for run in allocation.leased(layout, allocation.runs_of_host(layout, spec.id))]
    users = host_facts.gpu_processes() or [process for name in new for process in _expected(layout, name)]
    if users:
        raise Refused("gpu", "a GPU is in use", processes=[user._asdict() for user in users])


def require_no_other(layout: Layout, spec: RunSpec) -> list[RunFacts]:
    """Returns all other live runs; raises Refused if one of the same job is live, or waits in the queue."""
    others = [run for run in live_runs(layout) if run.id != spec.id]
    for run in others:
        if run.job == spec.job:
            raise Refused("running", "%s is already running as %s" % (run.job, run.id), run=run.id)
    for name, job in queued_runs(layout):
        if job == spec.job and name != spec.id:
            raise Refused("queued", "%s already waits in the queue as %s" % (job, name), run=name)
    return others


def queued_runs(layout: Layout) -> list[tuple[str, str | None]]:
    """Returns id and job of each run that waits on this machine, in their order."""
    waiting = [entry.run for entry in run_queue.entries(layout)]
    specs = ((name, RunSpec.load(layout.run(name).run_json)) for name in waiting)
    return [(name, spec.job if spec else None) for name, spec in specs]


def _expected(layout: Layout, run_id: str) -> list[GpuProcess]:
    """Returns the process that will use a GPU once this run has started; empty if the run needs no GPU."""
    paths = layout.run(run_id)
    spec, state = RunSpec.load(paths.run_json), State.load(paths.state)
    if spec is None or not spec.gpus:
        return []
    pid = state.child["pid"] if state and state.child else None
    return [GpuProcess("", pid, spec.argv[0], 0, None, run_id)]
