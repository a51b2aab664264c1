"""`gpujob deploy --resume RUN`: a new attempt of a run that ended, from its last checkpoint.

The run decides: its run.json says what it was deployed with. The job file is not read and may have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import msgspec

from orchestrator import registry
from orchestrator.commands import environment, execute, follow, limits, notify, runs, s3
from orchestrator.commands.deployment import Request
from orchestrator.context import Context
from orchestrator.core import hostchecks, runstate
from orchestrator.core.plan import Step
from orchestrator.core.runfacts import RunFacts, RunRecord
from orchestrator.core.runjson import GroupChanges, RunChanges
from orchestrator.core.spec import JobSpec
from orchestrator.errors import GpujobError, UsageError
from orchestrator.settings_files import Setting
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host, Target
from orchestrator.targets.group import GroupTarget
from orchestrator.view import answers, plans


class Together(msgspec.Struct, frozen=True):
    """All hosts of a run over several. `changed`: None where they are as before."""

    hosts: Sequence[Host]
    changed: GroupChanges | None = None


def resume(ctx: Context, settings: dict[str, Setting], store: Store, request: Request) -> int:
    """In the run's own folder; where its instance has ended, on another with its data volume."""
    word = runs.find_target(ctx, store, request.on, request.resume)
    target = registry.target(ctx, settings, word)
    if not request.dry_run:
        registry.require_transfer(ctx, target)
    if isinstance(target, GroupTarget):
        from orchestrator.commands import group_resume  # noqa: PLC0415 - only this needs it

        return group_resume.resume_all(ctx, store, target, request)
    if not target.has_ended:
        _wake(ctx, store, target, request)
    is_moved = target.has_ended
    if is_moved:
        relaunched = _relaunch(ctx, store, target, request)
        if relaunched is None:
            return 0
        target = relaunched
    with target.connect() as host:
        run = restart(ctx, host, store, request, is_moved)
        return follow.stream(ctx, host, run.id) if request.follow and not request.dry_run else 0


def _wake(ctx: Context, store: Store, target: Target, request: Request) -> None:
    """Starts an instance that its deadline stopped, for what is left of the run's limits; a dry run does not.

    GpujobError where nothing is left.
    """
    cached = [record.facts for record in store.runs().values() if record.target == target.label]
    if not cached:
        return
    run = runs.choose(cached, request.resume, ctx.now())
    rest = limits.left(ctx, run, request.max_hours, request.budget)
    if not request.dry_run:
        target.wake(rest.hours, rest.budget_usd, request.wait_for_capacity or 0.0)


def _relaunch(ctx: Context, store: Store, target: Target, request: Request) -> Target | None:
    """None for a dry run, which prints the launch."""
    from orchestrator.commands import launch  # noqa: PLC0415 - other targets load nothing of EC2

    cached = [record.facts for record in store.runs().values()]
    run = runs.choose(cached, request.resume, ctx.now())
    _require_job(run, request.job)
    _require_not_succeeded(ctx, run)
    rest = limits.left(ctx, run, request.max_hours, request.budget)
    job = msgspec.structs.replace(recorded_job(run), limits=rest.limits)
    return launch.launch_with_volume(ctx, target, job, request.launch_options())


def restart(
    ctx: Context,
    host: Host,
    store: Store,
    request: Request,
    is_moved: bool = False,
    together: Together | None = None,
) -> RunFacts:
    """The run, started again; with `dry_run` only what was verified before that.

    `is_moved`: the disk with its folder was moved to this host, so that no other uses it. `together`: it is a
    run over several hosts, which the caller reports.
    """
    run = runs.get(ctx, host, store, request.resume)
    _require_job(run, request.job)
    job = recorded_job(run)
    with execute.only_deploy(store, job.name, host.label):
        run = helper.find_run(host, run.id) or run
        _require_resumable(ctx, run)
        facts = helper.facts(host, [], gpus=bool(job.resources.gpus))
        hostchecks.require_host(facts, job, request.share_gpu, request.queue)
        hostchecks.require_space_for_run(facts, job)
        rest = limits.left(ctx, run, request.max_hours, request.budget)
        hosts = together.hosts if together else (host,)
        affordable = None if rest.budget_usd is None else limits.affordable_hours(hosts, rest.budget_usd)
        spec = RunChanges(run.id, rest.for_run(affordable), together.changed if together else None)
        secrets = _secrets(ctx, run.record, rest.hours) if run.record else {}
        if run.last_host and not is_moved and not request.dry_run:
            what = (
                f"{run.id} last ran on {run.last_host}, and whether it still does cannot be seen from here."
            )
            ctx.confirm(f"{what} Two of it would damage its checkpoints.")
        step = run.checkpoints.last
        if request.dry_run:
            plans.print_steps(ctx, job.name, host.label, [Step(f"resume {run.id}", _origin(run, step))])
            return run
        options = execute.start_options(facts, secrets, request.share_gpu, request.queue)
        ctx.step = f"the start of {run.id}, which may have happened"
        started = execute.start(host, job.name, spec, options, resume=True)
        runs.remember(ctx, store, host, [started])
        host.assign_run(run.id)
    if together is None:
        tell(ctx, started, host.label, step, request)
    return run


def _secrets(ctx: Context, record: RunRecord, hours: float | None) -> dict[str, str]:
    return {
        **environment.secrets(ctx, record.pass_env, {}),
        **notify.secrets(ctx, record.notify),
        **s3.of_run(ctx, record.s3, hours),
    }


def tell(ctx: Context, run: RunFacts, target: str, step: int | None, request: Request) -> None:
    """Prints that a run goes on from the checkpoint `step`, None for its start."""
    if ctx.json and not request.follow:
        place = run.queue.place if run.queue else None
        ctx.answer(
            answers.Started(run=run.id, session=run.session, target=target, resumed_from=step, queued=place)
        )
    elif not ctx.json:
        ctx.talk(follow.waiting(run) or f"run {run.id} goes on {_origin(run, step)}")


def _origin(run: RunFacts, step: int | None) -> str:
    """Where it goes on. What a script of the user's own saved, and whether it reads that, is not known."""
    if step is not None:
        return f"from step {step}"
    if run.record and run.record.trainer is None:
        return "with its command, in its working folder as it was left"
    return "from the start: it has no checkpoint"


def recorded_job(run: RunFacts) -> JobSpec:
    """What a host must offer for the run, as run.json records it."""
    if run.record is None or not run.record.job:
        why = "its run.json is missing or cannot be read"
        raise GpujobError(f"{run.id} cannot be resumed", why, f"gpujob fetch {run.id} --which all")
    return JobSpec(name=run.record.job, resources=run.record.resources)


def _require_job(run: RunFacts, word: str | None) -> None:
    """A JOB that is typed beside --resume must be the one of the run: its name, or its file."""
    if word is None or run.record is None:
        return
    typed = PurePath(word)
    if typed.stem not in (run.record.job, PurePath(run.record.source).stem):
        file = f" ({run.record.source})" if run.record.source else ""
        what = f"{run.id} is a run of {run.record.job}{file}, not of {word}"
        raise UsageError(what, "", f"gpujob deploy --resume {run.id}")


def _require_resumable(ctx: Context, run: RunFacts) -> None:
    state = runstate.fold(run, ctx.now())
    if isinstance(state, runstate.Elsewhere):
        why = f"it is alive on {state.host}, which shares the folder of runs with this host"
        raise GpujobError(f"{run.id} cannot be resumed here", why, f"on {state.host}: gpujob stop {run.id}")
    if isinstance(state, runstate.GOING):
        command = "gpujob stop" if isinstance(state, runstate.Orphaned) else "gpujob monitor"
        raise GpujobError(f"{run.id} is {runstate.word(state)}", "", f"{command} {run.id}")
    _require_not_succeeded(ctx, run)
    if run.pids:
        pids = " ".join(str(pid) for pid in run.pids)
        raise GpujobError(f"processes of {run.id} are left", f"pids {pids}", f"gpujob stop {run.id}")


def _require_not_succeeded(ctx: Context, run: RunFacts) -> None:
    if isinstance(runstate.fold(run, ctx.now()), runstate.Succeeded):
        what = f"{run.id} has succeeded: there is nothing to resume"
        raise GpujobError(what, "", f"gpujob fetch {run.id}")
