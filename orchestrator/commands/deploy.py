"""`gpujob deploy JOB`: check, send code and data, build the environment, start. Repeated, it continues."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from orchestrator import registry, settings_files
from orchestrator.commands import execute, follow, inputs, jobs, limits, notify, resume, runs, s3
from orchestrator.context import Context
from orchestrator.core import hostchecks, runstate
from orchestrator.core import plan as planning
from orchestrator.core.inputs import Identity, PlanInputs
from orchestrator.core.numbers import require_positive
from orchestrator.core.runfacts import RunFacts
from orchestrator.errors import GpujobError, Unreachable, UsageError
from orchestrator.store import Intent, Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host
from orchestrator.targets.group import GroupTarget
from orchestrator.view import plans

if TYPE_CHECKING:
    from orchestrator.commands.launch import Options


class Request(msgspec.Struct, frozen=True):
    """The command line of a deploy.

    `job`: a path or a name, None only with `resume`. `on`: the target, None for the settings'.
    """

    job: str | None
    on: str | None = None
    name: str | None = None
    sets: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    init_from: str | None = None
    resume: str | None = None
    follow: bool = False
    dry_run: bool = False
    share_gpu: bool = False
    max_hours: float | None = None
    budget: float | None = None
    ssh_cidr: str | None = None
    open_to_the_world: bool = False
    wait_for_capacity: float | None = None
    queue: bool = False
    regions: tuple[str, ...] = ()

    def launch_option(self) -> str | None:
        """The first option that only the launch of an instance uses."""
        options = {
            "--region": self.regions,
            "--wait-for-capacity": self.wait_for_capacity,
            "--ssh-cidr": self.ssh_cidr,
            "--open-to-the-world": self.open_to_the_world,
        }
        return next((option for option, value in options.items() if value), None)

    def launch_options(self) -> Options:
        from orchestrator.commands import launch  # noqa: PLC0415 - other targets load nothing of EC2

        return launch.launch_options(
            self.ssh_cidr, self.open_to_the_world, self.wait_for_capacity, self.dry_run
        )


def deploy(ctx: Context, request: Request) -> int:
    settings, store = settings_files.load(ctx), Store(ctx.state_dir)
    _require_one_way(request)
    if request.resume:
        _require_resume_alone(request)
        return resume.resume(ctx, settings, store, request)
    word = _require_job(request)
    job = notify.with_settings(_load_job(ctx, word, request), settings)
    job = jobs.with_nodes(job, request.on or settings["target"].value)
    target = registry.target(ctx, settings, request.on)
    if not target.launches and (option := request.launch_option()):
        why = f"the target is {target.label}"
        raise UsageError(f"{option} is for a launch", why, f"gpujob deploy {word} --on ec2")
    if not request.dry_run:
        registry.require_transfer(ctx, target)
    secrets = execute.secrets(ctx, job.spec.pass_env, job.file_secrets)
    secrets |= notify.secrets(ctx, job.spec.notify, is_required=("notify",) in job.file.lines)
    if not request.dry_run:
        secrets |= s3.secrets(ctx, job)
    ctx.begin("reading code and data")
    trees = inputs.sources(ctx, job, settings)
    known = inputs.collect(ctx, job, trees, target, share_gpu=request.share_gpu)
    known = replace(known, queue=request.queue)
    if not request.dry_run:  # whose plan lists them
        plans.print_warnings(ctx, known.warnings)
    if job.spec.resources.nodes > 1:
        _require_one_host(request)
    if target.launches:
        from orchestrator.commands import launch  # noqa: PLC0415 - other targets load nothing of EC2

        inputs.require_no_host_data(job, target)
        launched = launch.launch(ctx, settings["region"].value, known, word, request.launch_options())
        if launched is None:
            return 0
        target = launched
    elif request.on is None and settings["target"].source == "default":
        ctx.talk(f"target: {target.label} (no --on, and no target is set)")
    if isinstance(target, GroupTarget):
        from orchestrator.commands import group  # noqa: PLC0415 - only this needs it

        group_inputs = group.Inputs(known, job, trees, secrets, word, request.budget)
        return group.deploy(ctx, store, target, group_inputs, dry_run=request.dry_run, follows=request.follow)
    ctx.begin(f"connecting to {target.label}")
    with target.connect() as host:
        ctx.begin(f"looking at {host.label}")
        known = limits.with_budget(ctx, known, [host], request.budget)
        complete = inputs.with_facts(known, host, job)
        if request.dry_run:
            plans.print_plan(ctx, planning.build(complete))
            return 0
        plans.print_warnings(ctx, complete.warnings[len(known.warnings) :])
        with execute.only_deploy(store, job.spec.name, host.label):
            executor = execute.Executor(ctx, host, store, trees)
            run_id = _execute(ctx, executor, complete, secrets, word, request.follow)
        return follow.stream(ctx, host, run_id) if request.follow else 0


def _require_one_host(request: Request) -> None:
    if request.queue:
        why = "each host has a queue of its own, and a run over several hosts starts on all at once"
        raise UsageError("--queue takes one host", why, "gpujob deploy JOB --on HOST --queue")


def _require_one_way(request: Request) -> None:
    if request.queue and request.share_gpu:
        why = "a run either waits for GPUs of its own, or shares one with others"
        again = f"--resume {request.resume}" if request.resume else request.job
        what = "--queue and --share-gpu exclude each other"
        raise UsageError(what, why, f"gpujob deploy {again} --queue")


def _require_resume_alone(request: Request) -> None:
    if request.sets or request.data or request.name or request.init_from or request.regions:
        what = "--resume continues a run with its original settings"
        options = "--set, --data, --init-from, --name or --region"
        why = f"it takes no {options}; --max-hours and --budget replace its limits"
        raise UsageError(what, why, f"gpujob deploy --resume {request.resume}")


def _require_job(request: Request) -> str:
    if request.job is None:
        why = "a job file or the name of a job starts a run; --resume RUN alone continues one"
        raise UsageError("JOB is missing", why, "gpujob deploy --help")
    return request.job


def _load_job(ctx: Context, word: str, request: Request) -> jobs.Job:
    sets = [*request.sets, *_limits(request)]
    job = jobs.load(ctx, word, sets, list(request.data), request.name, request.init_from)
    jobs.require_data(job)
    return job


def _limits(request: Request) -> list[str]:
    """The options that set keys of the job file."""
    options = (
        ("--max-hours", "max_hours", request.max_hours),
        ("--budget", "budget_usd", request.budget),
    )
    for option, _, value in options:
        require_positive(option, value)
    regions = [f"resources.ec2.regions={json.dumps(request.regions)}"] if request.regions else []
    return [*regions, *(f"limits.{key}={value}" for _, key, value in options if value is not None)]


def _execute(
    ctx: Context,
    executor: execute.Executor,
    complete: PlanInputs,
    secrets: dict[str, str],
    word: str,
    follow: bool,
) -> str:
    """Builds the plan and runs it, or what is left of an interrupted one; the id of the run."""
    host, store, job = executor.host, executor.store, complete.job.name
    interrupted = _interrupted(ctx, host, store, complete)
    if isinstance(interrupted, RunFacts):
        _confirm(ctx, host, store, job, interrupted)
        plans.print_next(ctx, (), interrupted, host.label, follow)
        return interrupted.id
    assert complete.facts
    options = execute.start_options(complete.facts, secrets, complete.share_gpu, complete.queue)
    plan = planning.build(replace(complete, identity=interrupted) if interrupted else complete)
    store.save_intent(job, host.label, Intent(plan.fingerprint, plan.identity))
    try:
        with host.keep_awake():
            run = executor.run(plan, word, options)
    except Unreachable:
        raise  # the run may have started or not: the intent stays open, and the same command continues
    except GpujobError:
        store.close_intent(job, host.label)
        raise
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
