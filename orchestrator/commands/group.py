"""Runs over several hosts: they start on all hosts or on none, and are stopped and resumed as one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from orchestrator import registry, settings_files
from orchestrator.commands import execute, follow, gather, limits, runs
from orchestrator.commands.deployment import Deployment
from orchestrator.context import Context
from orchestrator.core import groups
from orchestrator.core import plan as planning
from orchestrator.core.hostfacts import HostFacts
from orchestrator.core.inputs import Identity, PlanInputs
from orchestrator.core.plan import Plan
from orchestrator.core.runfacts import RunFacts
from orchestrator.errors import GpujobError, NoGpus, NotFound, Unreachable
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host
from orchestrator.targets.group import GroupTarget
from orchestrator.view import plans

_AT_ONCE = 4  # hosts that are asked in a round, while a run has not begun
_MEET = 120.0  # seconds in which the hosts of a started run must have connected to each other


class _Part(msgspec.Struct, frozen=True):
    """The plan of one host."""

    executor: execute.Executor
    plan: Plan
    options: execute.StartOptions

    @property
    def host(self) -> Host:
        return self.executor.host


def deploy(ctx: Context, store: Store, target: GroupTarget, deployment: Deployment) -> int:
    """Prepares all hosts, then starts on all; where one refuses, nothing is left running on the others."""
    name, label, request = deployment.job.spec.name, target.label, deployment.request
    with contextlib.ExitStack() as stack:
        hosts = connect(ctx, stack, target)
        for host in hosts:
            stack.enter_context(host.keep_awake())
        complete = _facts(ctx, hosts, deployment)
        stack.enter_context(execute.only_deploy(store, name, label))
        identity = _identity(store, hosts, label, complete[0])
        nodes = groups.nodes(
            identity, [host.label for host in hosts], deployment.job.spec.resources, _addresses(complete[0])
        )
        if identity is not complete[0].identity and not request.dry_run:
            ctx.talk(f"continuing the interrupted deploy of {identity.run_id}")
        complete = [
            replace(one, identity=identity, node=node, facts=_without_itself(one.facts, identity.run_id))
            for one, node in zip(complete, nodes, strict=True)
        ]
        made = [planning.build(one) for one in complete]
        if request.dry_run:
            others = ", ".join(host.label for host in hosts[1:])
            notes = (*made[0].notes, f"the same steps on {others}; an attempt begins on all hosts together")
            plans.print_plan(ctx, replace(made[0], target=label, notes=notes))
            return 0
        warnings = dict.fromkeys(w for one in complete for w in one.warnings)
        plans.print_warnings(ctx, (*warnings, *_differences(hosts, made)))
        parts = [
            _part(ctx, store, deployment, host, plan, one)
            for host, plan, one in zip(hosts, made, complete, strict=True)
        ]
        _prepare(ctx, parts, deployment.word)
        with execute.recorded(store, label, made[0]):
            started = _start(ctx, parts)
        for part, run in reversed(list(zip(parts, started, strict=True))):
            runs.remember(ctx, store, part.host, [run])
            part.host.assign_run(run.id)
        store.close_intent(name, label)
        notes = tuple(note for note in made[0].notes if note not in warnings)  # these were shown before
        plans.print_next(ctx, notes, started[0], label, request.follow)
        return follow.stream(ctx, hosts[0], identity.run_id) if request.follow else 0


def _differences(hosts: Sequence[Host], made: Sequence[Plan]) -> tuple[str, ...]:
    versions = [spec.python.torch if (spec := plan.start.spec) and spec.python else None for plan in made]
    return groups.torch_warnings([host.label for host in hosts], versions)


def _facts(ctx: Context, hosts: Sequence[Host], deployment: Deployment) -> list[PlanInputs]:
    """With what each host has. Where an instance lacks its GPUs, none is left of those launched with it."""
    known = deployment.known
    if known.job.limits.budget_usd is not None:
        known = limits.with_budget(ctx, known, hosts, deployment.request.budget)
    try:
        return [gather.with_facts(known, host, deployment.job) for host in hosts]
    except NoGpus as error:
        from orchestrator.commands import launch  # noqa: PLC0415 - only EC2 instances are ended

        if not launch.discard_unused(ctx, [host.label for host in hosts]):
            raise
        why = f"{error.why}; all instances that were launched with it are terminated"
        raise GpujobError(error.what, why, "the same command launches others") from None


def connect(ctx: Context, stack: contextlib.ExitStack, target: GroupTarget) -> list[Host]:
    hosts = []
    for one in target.targets:
        ctx.step = f"connecting to {one.label}"
        hosts.append(stack.enter_context(one.connect()))
    return hosts


def _addresses(first: PlanInputs) -> tuple[str, ...]:
    return first.facts.addresses if first.facts else ()


def _identity(store: Store, hosts: Sequence[Host], label: str, first: PlanInputs) -> Identity:
    """That of an interrupted deploy of the same thing, else a new one; what another left is removed."""
    intent = store.find_intent(first.job.name, label)
    if not intent:
        return first.identity
    if intent.fingerprint == planning.fingerprint(first):
        return intent.identity
    for host in hosts:
        run = helper.find_run(host, intent.identity.run_id)
        if run and not run.state:
            helper.clean(host, run.id, purge=True)
    return first.identity


def _without_itself(facts: HostFacts | None, run_id: str) -> HostFacts | None:
    """A run that an interrupted deploy has started on some hosts already is no obstacle to itself."""
    if facts is None:
        return None
    live = tuple(run for run in facts.live_runs if run.id != run_id)
    users = tuple(process for process in facts.gpu_processes if process.run != run_id)
    return msgspec.structs.replace(facts, live_runs=live, gpu_processes=users)


def _part(
    ctx: Context, store: Store, deployment: Deployment, host: Host, plan: Plan, complete: PlanInputs
) -> _Part:
    assert complete.facts
    options = execute.start_options(complete.facts, deployment.secrets, complete.share_gpu)
    return _Part(execute.Executor(ctx, host, store, deployment.trees), plan, options)


def _prepare(ctx: Context, parts: Sequence[_Part], word: str) -> None:
    """Not a part of what is recorded: an error in it does not tell whether an interrupted start happened."""
    for part in parts:
        ctx.talk(f"{part.host.label}:")
        part.executor.prepare(part.plan, word)


def _start(ctx: Context, parts: Sequence[_Part]) -> list[RunFacts]:
    """The run on each host, once all of them have met."""
    started: list[Host] = []
    run_id = parts[0].plan.run_id
    try:
        for rank, part in enumerate(parts):
            started.append(part.host)
            _require_own_folder(part, rank, part.executor.start(part.plan, part.options))
    except GpujobError:
        _end(ctx, started, run_id)
        raise
    try:
        return wait_until_met(ctx, [part.host for part in parts], run_id)
    except Unreachable:
        raise  # the hosts may have met
    except GpujobError:
        _end(ctx, started, run_id)
        raise


def _require_own_folder(part: _Part, rank: int, run: RunFacts) -> None:
    if run.group and run.group.rank != rank:
        other = run.group.hosts[run.group.rank]
        why = f"it has the folder of runs of {other}; each host of a run needs one of its own"
        raise GpujobError(f"{part.host.label} cannot take part", why, "export GPUJOB_ROOT=… on each host")


def _end(ctx: Context, hosts: Sequence[Host], run_id: str) -> None:
    """Leaves nothing of a run that has not begun on all hosts."""
    for host in hosts:
        try:
            helper.stop(host, run_id, ctx.who, now=True)
            helper.clean(host, run_id, purge=True)
        except Unreachable:
            ctx.warn(f"{host.label} does not answer; what was started there ends by itself in 5 minutes")
        except GpujobError:  # it was not started there
            continue


def wait_until_met(ctx: Context, hosts: Sequence[Host], run_id: str, attempt: int = 1) -> list[RunFacts]:
    """The run on each host, where the attempt has begun. GpujobError where that does not happen.

    Until it has begun on the first host, that one and a few of the others are asked in turns, so that a round
    costs as much with 100 hosts as with four.
    """
    until = ctx.now() + _MEET
    ctx.talk(f"waiting for {', '.join(host.label for host in hosts)} to connect to each other")
    current, turn = [RunFacts(id=run_id)] * len(hosts), 0
    while waiting := [rank for rank, run in enumerate(current) if not _has_started(run, attempt)]:
        if turn and ctx.now() > until:
            raise _not_met(hosts[0].label, current)
        if turn:
            ctx.sleep(0.5)
        if waiting[0] == 0:
            others = [waiting[(turn * _AT_ONCE + number) % len(waiting)] for number in range(_AT_ONCE)]
            waiting = sorted({0, *others})
        for rank in waiting:
            current[rank] = helper.find_run(hosts[rank], run_id) or RunFacts(id=run_id)
            if current[rank].ended is not None and not _has_started(current[rank], attempt):
                raise _ended_before(hosts[rank].label, current[rank])
        turn += 1
    return current


def _has_started(run: RunFacts, attempt: int) -> bool:
    return bool(run.state and (run.state.attempt or 0) >= attempt)


def _ended_before(label: str, run: RunFacts) -> GpujobError:
    why = run.log.tail[-1] if run.log.tail else "its log is empty"
    is_port = "resources.master" in why
    step = "--set resources.master=ADDRESS:PORT with a free port" if is_port else "gpujob doctor"
    return GpujobError(f"the run ended on {label} before it began", why, step)


def _not_met(first: str, current: Sequence[RunFacts]) -> GpujobError:
    states = [run.state.group for run in current if run.state and run.state.group]
    problem = next((one.problem for one in states if one.problem), "")
    what = f"the hosts did not connect to each other within {_MEET:.0f} s"
    return GpujobError(what, problem, f"--set resources.master=ADDRESS by which they reach {first}")


def stop_others(ctx: Context, run: RunFacts, first: str, end: Callable[[Host], None]) -> None:
    """Calls `end` for the other hosts of a run, of which `first` has been stopped."""
    if not run.group or first not in run.group.hosts:
        return
    settings = settings_files.load(ctx)
    for label in run.group.hosts:
        if label == first:
            continue
        try:
            with registry.target(ctx, settings, label).connect() as host:
                if helper.find_run(host, run.id, 0):
                    end(host)
        except NotFound:  # its instance has ended, and the run with it
            continue
        except Unreachable as error:
            why = "its part of the run ends when it hears of the stop from the others"
            ctx.warn(f"{label} does not answer ({error.what}); {why}")
