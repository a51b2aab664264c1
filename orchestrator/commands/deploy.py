"""`gpujob deploy JOB`: check, send code and data, build the environment, start. Repeated, it continues."""

from __future__ import annotations

import json
from collections.abc import Mapping

from msgspec.structs import replace

from orchestrator import registry, settings_files
from orchestrator.commands import environment, execute, follow, gather, jobs, limits, notify, resume, runs, s3
from orchestrator.commands.deployment import Deployment, Request
from orchestrator.context import Context
from orchestrator.core import hostchecks, runstate
from orchestrator.core import plan as planning
from orchestrator.core.inputs import Identity, PlanInputs
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.values import require_positive
from orchestrator.errors import UsageError
from orchestrator.settings_files import Setting
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host, Target
from orchestrator.targets.group import GroupTarget
from orchestrator.view import plans


def deploy(ctx: Context, request: Request) -> int:
    """Starts a run, or continues one. 0 once it is up or waits in the queue; with `follow`, as it ended."""
    settings, store = settings_files.load(ctx), Store(ctx.state_dir)
    _require_valid(request)
    if request.resume:
        return resume.resume(ctx, settings, store, request)
    job = _load_job(ctx, settings, request)
    target = _target(ctx, settings, request)
    deployment = _prepare(ctx, settings, request, job, target)
    if target.launches:
        launched = _launch(ctx, settings, deployment, target)
        if launched is None:
            return 0
        target = launched
    elif request.on is None and settings["target"].source == "default":
        ctx.talk(f"target: {target.label} (no --on, and no target is set)")
    if isinstance(target, GroupTarget):
        from orchestrator.commands import group  # noqa: PLC0415 - only this needs it

        return group.deploy(ctx, store, target, deployment)
    return _deploy_to_host(ctx, store, target, deployment)


def _require_valid(request: Request) -> None:
    """UsageError for options that exclude each other, and without a JOB for a new run."""
    if request.queue and request.share_gpu:
        why = "a run either waits for GPUs of its own, or shares one with others"
        again = f"--resume {request.resume}" if request.resume else request.job
        what = "--queue and --share-gpu exclude each other"
        raise UsageError(what, why, f"gpujob deploy {again} --queue")
    if request.resume and (
        request.sets or request.data or request.name or request.init_from or request.regions
    ):
        what = "--resume continues a run with its original settings"
        options = "--set, --data, --init-from, --name or --region"
        why = f"it takes no {options}; --max-hours and --budget replace its limits"
        raise UsageError(what, why, f"gpujob deploy --resume {request.resume}")
    if request.job is None and not request.resume:
        why = "a job file or the name of a job starts a run; --resume RUN alone continues one"
        raise UsageError("JOB is missing", why, "gpujob deploy --help")


def _overrides(request: Request) -> list[str]:
    """KEY=VALUE of each key of the job file that an option sets."""
    regions = [f"resources.ec2.regions={json.dumps(request.regions)}"] if request.regions else []
    limits = []
    for option, key, value in (
        ("--max-hours", "max_hours", request.max_hours),
        ("--budget", "budget_usd", request.budget),
    ):
        if value is not None:
            require_positive(option, value)
            limits.append(f"limits.{key}={value}")
    return [*request.sets, *regions, *limits]


def _require_no_launch(request: Request, target: str) -> None:
    """UsageError for an option that only the launch of an instance uses."""
    options = {
        "--region": request.regions,
        "--wait-for-capacity": request.wait_for_capacity,
        "--ssh-cidr": request.ssh_cidr,
        "--open-to-the-world": request.open_to_the_world,
    }
    if option := next((option for option, value in options.items() if value), None):
        why = f"the target is {target}"
        raise UsageError(f"{option} is for a launch", why, f"gpujob deploy {request.job} --on ec2")


def _load_job(ctx: Context, settings: Mapping[str, Setting], request: Request) -> jobs.Job:
    """The job with the options of the command line and the alerts of the settings; its data exists."""
    assert request.job
    job = jobs.load(
        ctx, request.job, _overrides(request), list(request.data), request.name, request.init_from
    )
    jobs.require_data(job)
    if job.spec.notify is None and settings["notify"].value:
        job = notify.with_settings(job, settings)
    on = request.on or settings["target"].value
    return jobs.with_nodes(job, on) if "," in on or job.spec.resources.nodes > 1 else job


def _target(ctx: Context, settings: dict[str, Setting], request: Request) -> Target:
    target = registry.target(ctx, settings, request.on)
    if not target.launches:
        _require_no_launch(request, target.label)
    if target.needs_rsync and not request.dry_run:
        registry.require_transfer(ctx, target)
    return target


def _prepare(
    ctx: Context, settings: Mapping[str, Setting], request: Request, job: jobs.Job, target: Target
) -> Deployment:
    """Reads the job's secrets, code and data on the client."""
    secrets, spec = dict[str, str](), job.spec
    if spec.pass_env:
        secrets |= environment.secrets(ctx, spec.pass_env, job.env.secrets)
    if spec.notify:
        secrets |= notify.secrets(ctx, spec.notify, is_required=("notify",) in job.file.lines)
    if not request.dry_run and spec.uses_s3:
        secrets |= s3.secrets(ctx, job)
    ctx.step = "reading code and data"
    trees = gather.sources(ctx, job, settings)
    known = gather.collect(ctx, job, trees, target, share_gpu=request.share_gpu, queue=request.queue)
    if not request.dry_run:  # whose plan lists them
        plans.print_warnings(ctx, known.warnings)
    if request.queue and spec.resources.nodes > 1:
        why = "each host has a queue of its own, and a run over several hosts starts on all at once"
        raise UsageError("--queue takes one host", why, "gpujob deploy JOB --on HOST --queue")
    assert request.job
    return Deployment(request, request.job, job, trees, known, secrets)


def _launch(
    ctx: Context, settings: Mapping[str, Setting], deployment: Deployment, target: Target
) -> Target | None:
    """The launched instances; None for a dry run, whose plan is printed."""
    from orchestrator.commands import launch  # noqa: PLC0415 - other targets load nothing of EC2

    gather.require_no_host_data(deployment.job, target)
    options = deployment.request.launch_options()
    return launch.launch(ctx, settings["region"].value, deployment.known, deployment.word, options)


def _deploy_to_host(ctx: Context, store: Store, target: Target, deployment: Deployment) -> int:
    known, request = deployment.known, deployment.request
    ctx.step = f"connecting to {target.label}"
    with target.connect() as host:
        ctx.step = f"looking at {host.label}"
        if known.job.limits.budget_usd is not None:
            known = limits.with_budget(ctx, known, [host], request.budget)
        complete = gather.with_facts(known, host, deployment.job)
        if request.dry_run:
            plans.print_plan(ctx, planning.build(complete))
            return 0
        plans.print_warnings(ctx, complete.warnings[len(known.warnings) :])
        with execute.only_deploy(store, known.job.name, host.label):
            run_id = _execute(ctx, store, host, deployment, complete)
        return follow.stream(ctx, host, run_id) if request.follow else 0


def _execute(ctx: Context, store: Store, host: Host, deployment: Deployment, complete: PlanInputs) -> str:
    """Builds the plan and runs it, or what is left of an interrupted one; the id of the run."""
    job, follow = complete.job.name, deployment.request.follow
    interrupted = _interrupted(ctx, host, store, complete)
    if isinstance(interrupted, RunFacts):
        _confirm(ctx, host, store, job, interrupted)
        plans.print_next(ctx, (), interrupted, host.label, follow)
        return interrupted.id
    assert complete.facts
    options = execute.start_options(complete.facts, deployment.secrets, complete.share_gpu, complete.queue)
    plan = planning.build(replace(complete, identity=interrupted) if interrupted else complete)
    executor = execute.Executor(ctx, host, store, deployment.trees)
    with execute.recorded(store, host.label, plan), host.keep_awake():
        executor.prepare(plan, deployment.word)
        run = executor.start(plan, options)
    _confirm(ctx, host, store, job, run)
    notes = tuple(note for note in plan.notes if note not in complete.warnings)  # these were shown before
    plans.print_next(ctx, notes, run, host.label, follow)
    return plan.run_id


def _interrupted(ctx: Context, host: Host, store: Store, complete: PlanInputs) -> Identity | RunFacts | None:
    """What an interrupted deploy left: nothing, the identity to continue with, or the run that it started.

    Only a deploy of the same thing is continued. Of another, an active run is an error as any active run
    is, and a run that was not started yet is removed from the host.
    """
    job = complete.job.name
    intent = store.find_intent(job, host.label)
    if not intent:
        return None
    identity = intent.identity
    is_same = planning.fingerprint(complete) == intent.fingerprint
    run = helper.find_run(host, identity.run_id)
    if run and (run.state or run.queue):
        if is_same:
            ctx.talk(f"the interrupted deploy had started {identity.run_id}")
            return run
        _confirm(ctx, host, store, job, run)
        if runstate.is_going(run, ctx.now()):
            raise hostchecks.already_running(job, identity.run_id)
        return None
    if is_same:
        ctx.talk(f"continuing the interrupted deploy of {identity.run_id}")
        return identity
    if run:
        helper.clean(host, identity.run_id, purge=True)
    return None


def _confirm(ctx: Context, host: Host, store: Store, job: str, run: RunFacts) -> None:
    runs.remember(ctx, store, host, [run])
    host.assign_run(run.id)
    store.close_intent(job, host.label)
