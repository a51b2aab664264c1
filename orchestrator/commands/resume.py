"""`gpujob deploy JOB --resume RUN`: a new attempt of a run that ended, from its last checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import registry
from orchestrator.commands import execute, inputs, jobs, monitor, runs
from orchestrator.context import Context
from orchestrator.core import hostchecks, runstate
from orchestrator.core.hostfacts import RunFacts
from orchestrator.core.settings import Setting
from orchestrator.errors import GpujobError, UsageError
from orchestrator.store import Store
from orchestrator.targets.base import Host, Target

if TYPE_CHECKING:
    from orchestrator.commands.deploy import Request


def resume(ctx: Context, settings: dict[str, Setting], store: Store, job: jobs.Job, request: Request) -> int:
    """In the run's own folder; where its instance has ended, on another with its data volume."""
    word = runs.find_target(ctx, store, request.on, request.resume)
    target = registry.target(ctx, settings, word)
    if not request.dry_run:
        registry.require_transfer(ctx, target)
    if target.has_ended:
        target = _relaunch(ctx, settings, store, target, job, request)
    with target.connect() as host:
        run_id = _restart(ctx, host, store, job, request)
        return monitor.stream(ctx, host, run_id) if request.follow else 0


def _relaunch(
    ctx: Context,
    settings: dict[str, Setting],
    store: Store,
    target: Target,
    job: jobs.Job,
    request: Request,
) -> Target:
    from orchestrator.commands import launch  # noqa: PLC0415 - other targets load nothing of EC2
    from orchestrator.instances.region import Ingress  # noqa: PLC0415

    cached = [record.facts for record in store.runs().values()]
    _require_not_succeeded(ctx, runs.choose(cached, request.resume, ctx.now()))
    ingress = Ingress(request.ssh_cidr, request.open_to_the_world)
    return launch.launch_with_volume(ctx, settings["region"].value, target, job.spec, ingress)


def _restart(ctx: Context, host: Host, store: Store, job: jobs.Job, request: Request) -> str:
    with execute.only_deploy(store, job.spec.name, host):
        run = runs.get(ctx, host, store, request.resume)
        _require_resumable(ctx, job, run)
        facts = inputs.host_facts(host, job)
        hostchecks.require_host(facts, job.spec, request.share_gpu)
        hostchecks.require_space_for_run(facts, job.spec)
        secrets = execute.secrets(ctx, run.record.pass_env if run.record else ())
        options = execute.start_options(facts, secrets, request.share_gpu)
        started = execute.start(host, job.spec.name, {"id": run.id}, options, resume=True)
        runs.remember(ctx, store, host, [started])
        host.assign_run(run.id)
    step = run.checkpoints.last
    if ctx.json and not request.follow:
        ctx.answer({"run": run.id, "resumed_from": step})
    elif not ctx.json:
        origin = f"from step {step}" if step is not None else "from the start: it has no checkpoint"
        ctx.talk(f"run {run.id} goes on {origin}")
    return run.id


def _require_resumable(ctx: Context, job: jobs.Job, run: RunFacts) -> None:
    state = runstate.fold(run, ctx.now())
    if run.job != job.spec.name:
        raise UsageError(f"{run.id} is a run of {run.job}, not of {job.spec.name}")
    if isinstance(state, runstate.GOING):
        command = "gpujob stop" if isinstance(state, runstate.Orphaned) else "gpujob monitor"
        raise GpujobError(f"{run.id} is {runstate.word(state)}", "", f"{command} {run.id}")
    _require_not_succeeded(ctx, run)


def _require_not_succeeded(ctx: Context, run: RunFacts) -> None:
    if isinstance(runstate.fold(run, ctx.now()), runstate.Succeeded):
        what = f"{run.id} has succeeded: there is nothing to resume"
        raise GpujobError(what, "", f"gpujob fetch {run.id}")
