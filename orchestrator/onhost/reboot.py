"""Continues the runs that a restart of the instance interrupted. The last step of a boot calls it.

A restart by EC2 of an interrupted spot instance is free. Any other one, such as a reboot from the console,
uses one of the job's restarts.
"""

from __future__ import annotations

import os
import time
from typing import Callable

from orchestrator.core.layout import Layout
from orchestrator.onhost import (
    dispatch,
    elsewhere,
    files,
    gpus,
    instance_limits,
    leases,
    private,
    processes,
    run_facts,
    run_queue,
    runs,
)
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.journal import note
from orchestrator.onhost.records import RunSpec
from orchestrator.onhost.run_facts import RunFacts

GPU_SECONDS = 600.0  # seconds after a boot that the GPU driver may take to appear
_PAUSE = 5.0


def resume_all(layout: Layout, sleep: Callable[[float], None] = time.sleep) -> list[str]:
    """Starts every interrupted run again, each from its last checkpoint, then the queue; returns their ids.

    Those that came through the queue go to its front, so that each gets GPUs of its own again.
    """
    limits = instance_limits.find()
    is_spot = bool(limits and limits.is_spot)
    every = run_facts.find_all(layout, 0)
    queued = [run for run in every if leases.load(layout.run(run.id)) is not None]
    for run in reversed(queued):
        _resume(layout, run, is_spot, sleep, queues=True)
    others = [run for run in every if run not in queued]
    resumed = [run.id for run in others if _resume(layout, run, is_spot, sleep)]
    if not run_queue.is_empty(layout):
        _missing_gpus(0 if gpus.sample() == [] else 1, sleep)
        resumed += dispatch.advance(layout)
    return resumed


def is_interrupted(run: RunFacts) -> bool:
    """Returns whether an earlier boot ended with this run going: it was cut off, or asked to stop by it."""
    state = run.state
    if state is None or run.spec is None or run.is_alive or run.elsewhere or elsewhere.is_foreign(state):
        return False
    if not state.boot or state.boot == processes.boot():
        return False
    return (state.ended is None or state.reason == "preempted") and not os.path.exists(
        os.path.join(run.folder, "stop.json")
    )


def _resume(
    layout: Layout, run: RunFacts, is_spot: bool, sleep: Callable[[float], None], queues: bool = False
) -> bool:
    if not is_interrupted(run):
        return False
    assert run.spec
    assert run.state
    used = run.state.restarts + (0 if is_spot else 1)
    problem = _obstacle(run.spec, used, sleep)
    if problem is None:
        try:
            request = runs.StartRequest(RunSpec.parse({"id": run.id}), resume=True, restarts=used)
            if queues:
                with files.lock(layout.start_lock):
                    run_queue.add(layout, run.id, private.user_umask, used, resumes=True, first=True)
            if queues or runs.start(layout, request)["started"]:
                note(
                    layout.run(run.id), "the instance was restarted; the run goes on from its last checkpoint"
                )
                return True
            return False
        except (Refused, OSError) as error:
            problem = str(error)
    note(layout.run(run.id), "the instance was restarted; the run is not continued: %s" % problem)
    return False


def _obstacle(spec: RunSpec, used: int, sleep: Callable[[float], None]) -> str | None:
    """Returns why a run cannot be continued without its user; None if it can."""
    if spec.pass_env:
        return "it needs %s, which are not stored on the host" % " ".join(spec.pass_env)
    if used > spec.max_restarts and used:
        return "it used its %d restarts (restart.max)" % spec.max_restarts
    return _missing_gpus(spec.gpus, sleep)


def _missing_gpus(expected: int, sleep: Callable[[float], None]) -> str | None:
    """Waits until the driver shows the GPUs of a run; returns what is missing after GPU_SECONDS."""
    waited = 0.0
    while expected:
        visible = gpus.sample()
        if visible is not None and len(visible) >= expected:
            return None
        if waited >= GPU_SECONDS:
            return "nvidia-smi shows %s of its %d GPUs" % ("none" if not visible else len(visible), expected)
        sleep(_PAUSE)
        waited += _PAUSE
    return None
