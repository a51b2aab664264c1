"""`gpujob deploy JOB`: resolve → check → code → data → environment → start. Typed again, it carries on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator import registry
from orchestrator.commands import config, execute, inputs, jobs, monitor, runs
from orchestrator.context import Context
from orchestrator.core import hostchecks, runstate
from orchestrator.core import plan as planning
from orchestrator.core.inputs import Identity, PlanInputs
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.settings import Setting
from orchestrator.core.spec import need_positive
from orchestrator.errors import GpujobError, Unreachable, UsageError
from orchestrator.source import Source
from orchestrator.store import Intent, Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host, Target
from orchestrator.view import plans


@dataclass(frozen=True)
class Request:
    """The words of one deploy."""

    word: str
    on: str | None = None
    name: str | None = None
    sets: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    resume: str | None = None
    follow: bool = False
    dry_run: bool = False
    share_gpu: bool = False
    max_hours: float | None = None
    budget: float | None = None
    ssh_cidr: str | None = None
    open_to_the_world: bool = False


def deploy(ctx: Context, request: Request) -> int:
    settings = config.load(ctx)
    sets = [*request.sets, *_limits(request)]
    if request.resume and (sets or request.data or request.name):
        raise UsageError("--resume continues a run as it was begun", "it takes no --set, --data or --name")
    job = jobs.load(ctx, request.word, sets, list(request.data), request.name)
    store = Store(ctx.state_dir)
    word = runs.find_target(ctx, store, request.on, request.resume) if request.resume else request.on
    target = registry.target(ctx, settings, word)
    if not request.dry_run:
        registry.require_transfer(ctx, target)
    if request.resume and target.has_ended:
        _refuse_done(store, ctx, request.resume)
        target = _launch_with_volume(ctx, settings, target, job, request)
    elif target.launches and not request.resume:
        jobs.need_data(job)
        launched = _launch(ctx, store, settings, job, request)
        if launched is None:
            return 0
        target = launched
    with target.connect() as host:
        _say_target(ctx, request, settings["target"].source, host)
        if request.resume:
            run_id: str | None = _resume(ctx, host, store, job, request)
        else:
            jobs.need_data(job)
            run_id = _fresh(ctx, host, store, _within_budget(ctx, host, job, request), request)
        if not run_id:
            return 0
        return monitor.stream(ctx, host, run_id) if request.follow else 0


def _launch(
    ctx: Context, store: Store, settings: dict[str, Setting], job: jobs.Job, request: Request
) -> Target | None:
    """The job's instance, launched at a price that the user agreed to; None for a dry run.

    Imported here, so that a deploy to another target loads nothing of EC2.
    """
    from orchestrator.commands.preview import Preview  # noqa: PLC0415
    from orchestrator.instances.cloud import Account  # noqa: PLC0415
    from orchestrator.instances.ensure import ensure  # noqa: PLC0415
    from orchestrator.instances.region import Ingress  # noqa: PLC0415

    ingress = Ingress(request.ssh_cidr, request.open_to_the_world)
    preview = Preview(ctx, store, settings["region"].value, job)
    if request.dry_run:
        plans.print_plan(ctx, preview.plan(str(ingress)))
        return None
    preview.check_on_client(request.word)
    instance = ensure(Account(ctx), preview.quote, ingress)
    return registry.target(ctx, settings, instance.label)


def _launch_with_volume(
    ctx: Context, settings: dict[str, Setting], former: Target, job: jobs.Job, request: Request
) -> Target:
    """An instance with the data volume of one that has ended."""
    from orchestrator.instances.cloud import Account  # noqa: PLC0415
    from orchestrator.instances.ensure import ensure_with_volume  # noqa: PLC0415
    from orchestrator.instances.quote import quote  # noqa: PLC0415
    from orchestrator.instances.region import Ingress  # noqa: PLC0415

    account, region = Account(ctx), settings["region"].value
    offer = quote(job.spec, region, ctx.now(), ctx.who, 0)
    record = account.records.get(former.label.removeprefix("ec2://"))
    ingress = Ingress(request.ssh_cidr, request.open_to_the_world)
    instance = ensure_with_volume(account, record, offer, ingress)
    return registry.target(ctx, settings, instance.label)


def _limits(request: Request) -> list[str]:
    """The flags that stand for keys of the job file."""
    found = []
    for flag, key, value in (
        ("--max-hours", "max_hours", request.max_hours),
        ("--budget", "budget_usd", request.budget),
    ):
        need_positive(flag, value)
        if value is not None:
            found.append(f"limits.{key}={value}")
    return found


def _within_budget(ctx: Context, host: Host, job: jobs.Job, request: Request) -> jobs.Job:
    """The hours that a budget buys of the very host, which may have stood before; UsageError for --budget
    on one that has no price."""
    limits = job.spec.limits
    if limits.budget_usd is None:
        return job
    hours = host.hours_for(limits.budget_usd)
    if hours is None and request.budget is not None:
        raise UsageError(f"--budget says nothing of {host.label}", "it has no price here", "--max-hours H")
    if hours is None:
        ctx.talk(f"limits.budget_usd says nothing of {host.label}: it has no price here")
        return job
    if limits.max_hours is not None and limits.max_hours <= hours:
        return job
    return job.within(hours)


def _say_target(ctx: Context, request: Request, source: str, host: Host) -> None:
    if request.on is None and not request.resume and source == "default":
        ctx.talk(f"target: {host.label} (no --on, and no target is set)")


def _fresh(ctx: Context, host: Host, store: Store, job: jobs.Job, request: Request) -> str | None:
    """The id of the run that is up now; None for a dry run."""
    secrets = _secrets(ctx, job.spec.pass_env)
    trees = inputs.sources(ctx, job)
    is_local, share_gpu = host.is_local, request.share_gpu
    collected = inputs.collect(ctx, job, trees, host.label, is_local=is_local, share_gpu=share_gpu)
    collected = inputs.with_facts(collected, host, job)
    if request.dry_run:
        plans.print_plan(ctx, planning.build(collected))
        return None
    with _alone(store, job.spec.name, host):
        return _carry_out(ctx, host, store, collected, trees, request, secrets)


@contextlib.contextmanager
def _alone(store: Store, job: str, host: Host) -> Iterator[None]:
    """One deploy of a job to a target at a time, resumes too."""
    with store.lock(job, host.label) as ours:
        if not ours:
            what = f"another deploy of {job} to {host.label} is under way"
            raise GpujobError(what, "", "wait for it, or deploy with --name")
        yield


def _carry_out(
    ctx: Context,
    host: Host,
    store: Store,
    collected: PlanInputs,
    trees: dict[str, Source],
    request: Request,
    secrets: dict[str, str],
) -> str:
    cut = _interrupted_deploy(ctx, host, store, collected)
    if isinstance(cut, RunFacts):
        _confirm(ctx, host, store, collected.job.name, cut)
        plans.print_next(ctx, (), cut, request.follow)
        return cut.id
    assert collected.facts
    plan = planning.build(replace(collected, identity=cut) if cut else collected)
    store.save_intent(plan.job, host.label, Intent(plan.fingerprint, plan.identity))
    executor = execute.Executor(ctx, host, store, trees)
    options = execute.start_options(collected.facts, secrets, collected.share_gpu)
    try:
        with host.keep_awake():
            run = executor.run(plan, request.word, options)
    except Unreachable:
        raise  # it may be up or not: the intent stays open, and the same command finds out
    except GpujobError:
        store.close_intent(plan.job, host.label)  # it ended here and said why: nothing is open
        raise
    _confirm(ctx, host, store, plan.job, run)
    plans.print_next(ctx, plan.notes, run, request.follow)
    return plan.run_id


def _interrupted_deploy(
    ctx: Context, host: Host, store: Store, collected: PlanInputs
) -> Identity | RunFacts | None:
    """What an earlier deploy left open: nothing, the identity to go on with, or the run it brought up.

    Only the same thing is carried on. Of another thing, a run that is going is named as every going
    run is, and what was half made on the host is removed.
    """
    intent = store.find_intent(collected.job.name, host.label)
    if not intent:
        return None
    run_id = intent.identity.run_id
    is_same = planning.fingerprint(collected) == intent.fingerprint
    run = helper.find_run(host, run_id)
    if run and run.state:
        if is_same:
            ctx.talk(f"the interrupted deploy had started {run_id}")
            return run
        _confirm(ctx, host, store, collected.job.name, run)
        if runstate.is_going(run, ctx.now()):
            raise hostchecks.already_running(collected.job.name, run_id)
        return None
    if is_same:
        ctx.talk(f"continuing the interrupted deploy: {run_id}")
        return intent.identity
    if run:
        helper.clean(host, run_id, purge=True)
    return None


def _confirm(ctx: Context, host: Host, store: Store, job: str, run: RunFacts) -> None:
    runs.remember(ctx, store, host, [run])
    host.assign_run(run.id)
    store.close_intent(job, host.label)


def _secrets(ctx: Context, names: Sequence[str]) -> dict[str, str]:
    absent = [name for name in names if name not in ctx.env]
    if absent:
        raise UsageError(f"pass_env: {', '.join(absent)} is not set here", "", f"export {absent[0]}=…")
    return {name: ctx.env[name] for name in names}


def _resume(ctx: Context, host: Host, store: Store, job: jobs.Job, request: Request) -> str:
    """A new attempt of a run that ended, in its own folder, from its last checkpoint."""
    with _alone(store, job.spec.name, host):
        run = runs.get(ctx, host, store, request.resume)
        _refuse_resume(ctx, job, run)
        facts = inputs.host_facts(host, job)
        hostchecks.require_host(facts, job.spec, request.share_gpu)
        hostchecks.require_space_for_run(facts, job.spec)
        secrets = _secrets(ctx, run.record.pass_env if run.record else ())
        options = execute.start_options(facts, secrets, request.share_gpu)
        started = execute.start(host, job.spec.name, {"id": run.id}, options, resume=True)
        runs.remember(ctx, store, host, [started])
        host.assign_run(run.id)
    step = run.checkpoints.last
    origin = f"from step {step}" if step is not None else "from its beginning: it left no checkpoint"
    if ctx.json and not request.follow:
        ctx.answer({"run": run.id, "resumed_from": step})
    elif not ctx.json:
        ctx.talk(f"run {run.id} goes on {origin}")
    return run.id


def _refuse_done(store: Store, ctx: Context, word: str) -> None:
    """Before an instance is paid for: a run that is known to have succeeded has nothing to continue."""
    run = runs.choose([cached.facts for cached in store.runs().values()], word, ctx.now())
    _refuse_succeeded(run, runstate.fold(run, ctx.now()))


def _refuse_succeeded(run: RunFacts, state: runstate.RunState) -> None:
    if isinstance(state, runstate.Succeeded):
        what = f"{run.id} has succeeded: there is nothing to resume"
        raise GpujobError(what, "", f"gpujob fetch {run.id}")


def _refuse_resume(ctx: Context, job: jobs.Job, run: RunFacts) -> None:
    state = runstate.fold(run, ctx.now())
    if run.job != job.spec.name:
        raise UsageError(f"{run.id} is a run of {run.job}, not of {job.spec.name}")
    if isinstance(state, runstate.GOING):
        next_step = "gpujob stop" if isinstance(state, runstate.Orphaned) else "gpujob monitor"
        raise GpujobError(f"{run.id} is {runstate.word(state)}", "", f"{next_step} {run.id}")
    _refuse_succeeded(run, state)
