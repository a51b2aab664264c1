"""Runs the steps of a plan. Every step may be interrupted and repeated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.commands import inputs, preflight
from orchestrator.context import Context
from orchestrator.core import decode, hostchecks
from orchestrator.core.hostfacts import GpuProcess, HostFacts
from orchestrator.core.plan import CheckStep, CodeStep, DataStep, EnvironmentStep, Plan, StartStep, Step
from orchestrator.core.runfacts import RunFacts
from orchestrator.errors import GpujobError, UsageError
from orchestrator.source import Source
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host, Refused
from orchestrator.view import plans, transfer


@dataclass(frozen=True)
class StartOptions:
    """What the host needs to start a run. `live`: the runs with a process when it was planned; one that began
    since may not hold its GPU yet."""

    secrets: Mapping[str, str]
    live: tuple[str, ...]
    share_gpu: bool


def start_options(facts: HostFacts, secrets: Mapping[str, str], share_gpu: bool) -> StartOptions:
    return StartOptions(secrets, tuple(run.id for run in facts.live_runs), share_gpu)


class Executor:
    """The steps of a plan on one host."""

    def __init__(self, ctx: Context, host: Host, store: Store, trees: Mapping[str, Source]) -> None:
        self.ctx = ctx
        self.host = host
        self.store = store
        self.trees = trees

    def run(self, plan: Plan, word: str, options: StartOptions) -> RunFacts:
        """All of a plan of a deploy; the run, which is up. `word`: the job as typed."""
        for step in plan.steps:
            plans.announce(self.ctx, step)
            with self.ctx.timed(step.title):
                if isinstance(step, CheckStep):
                    preflight.require_passed(self.ctx, self.host, self.store, step, word)
                elif isinstance(step, StartStep):
                    assert step.spec is not None, "the plan is complete"
                    return start(self.host, plan.job, step.spec, options)
                else:
                    self.take(step)
        raise AssertionError("a plan of a deploy ends with a start")

    def take(self, step: Step) -> None:
        """One step that is neither a check nor the start."""
        if isinstance(step, CodeStep) and not step.done:
            self._send_tree(self.trees[step.role])
        elif isinstance(step, DataStep) and not step.done:
            with transfer.bar(self.ctx, step.bytes) as on_bytes:
                self.host.send_data(step.name, step.fingerprint, Path(step.source), on_bytes)
        elif isinstance(step, EnvironmentStep):
            helper.ensure_environment(self.host, step.environment)

    def _send_tree(self, tree: Source) -> None:
        """Where other bytes arrive than were read here, the cached digests may be wrong: they are dropped."""
        try:
            self.host.send_tree(tree)
        except (Refused, UsageError):
            inputs.digests(self.ctx).forget(tree.folder)
            raise


@contextlib.contextmanager
def only_deploy(store: Store, job: str, host: Host) -> Iterator[None]:
    """One deploy of a job to a target at a time, resumes included."""
    with store.lock(job, host.label) as locked:
        if not locked:
            what = f"another deploy of {job} to {host.label} is running"
            raise GpujobError(what, "", "wait for it, or deploy with --name")
        yield


def secrets(ctx: Context, names: Sequence[str]) -> dict[str, str]:
    """The environment variables of pass_env. UsageError where one is not set."""
    missing = [name for name in names if name not in ctx.env]
    if missing:
        raise UsageError(f"pass_env: {', '.join(missing)} is not set", "", f"export {missing[0]}=…")
    return {name: ctx.env[name] for name in names}


def start(
    host: Host, job: str, spec: dict[str, Any], options: StartOptions, resume: bool = False
) -> RunFacts:
    """The run, which is up. GpujobError as the plan would raise it where another client was first."""
    try:
        return helper.start(
            host,
            spec,
            secrets=dict(options.secrets),
            share_gpu=options.share_gpu,
            known_runs=list(options.live),
            resume=resume,
        )
    except Refused as refused:
        if refused.kind == "running":
            raise hostchecks.already_running(job, str(refused.details["run"])) from None
        if refused.kind == "gpu":
            processes = decode.structs(refused.details["processes"], GpuProcess)
            raise hostchecks.gpu_in_use(processes) from None
        raise
