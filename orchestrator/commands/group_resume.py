"""`gpujob deploy --resume` of a run over several hosts."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from orchestrator.commands import follow, group, limits, resume, runs
from orchestrator.commands.deployment import Request
from orchestrator.commands.resume import Together
from orchestrator.context import Context
from orchestrator.core import groups, runstate
from orchestrator.core.resources import Resources
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.runjson import GroupChanges
from orchestrator.errors import GpujobError, NoGpus, Unreachable
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host
from orchestrator.targets.group import GroupTarget

if TYPE_CHECKING:
    from orchestrator.commands.launch import Revived

_Part = tuple[Host, RunFacts]


def resume_all(ctx: Context, store: Store, target: GroupTarget, request: Request) -> int:
    """Starts the run on every host where it has ended; a host that waits for the others is left alone.

    Instances that are stopped are started first, and those that have ended are replaced.
    """
    if not all(one.is_instance for one in target.targets):
        return _resume(ctx, store, target, request, may_move=False)
    revived = _revive(ctx, store, target, request)
    if revived is None:
        return 0
    try:
        return _resume(ctx, store, revived.target, request, may_move=True)
    except NoGpus:
        from orchestrator.commands import launch  # noqa: PLC0415 - other targets load nothing of EC2

        launch.shut_down(ctx, revived.started)
        raise


def _revive(ctx: Context, store: Store, target: GroupTarget, request: Request) -> Revived | None:
    from orchestrator.commands import launch  # noqa: PLC0415 - other targets load nothing of EC2

    cached = [record.facts for record in store.runs().values() if record.target == target.label]
    if not cached:
        return launch.Revived(target, ())
    run = runs.choose(cached, request.resume, ctx.now())
    rest = limits.left(ctx, run, request.max_hours, request.budget)
    job = msgspec.structs.replace(resume.recorded_job(run), limits=rest.limits)
    return launch.revive(ctx, target, job, request.launch_options())


def _resume(ctx: Context, store: Store, target: GroupTarget, request: Request, *, may_move: bool) -> int:
    with contextlib.ExitStack() as stack:
        connected = group.connect(ctx, stack, target)
        parts = [(host, runs.get(ctx, host, store, request.resume)) for host in connected]
        parts.sort(key=lambda part: part[1].group.rank if part[1].group else 0)
        hosts, known = [host for host, _ in parts], [run for _, run in parts]
        run_id = known[0].id
        together, moved = _moves(parts) if may_move else (Together(hosts), frozenset[str]())
        if together.changed and not request.dry_run:
            _end_waiting(ctx, parts)
        ended = [host for host, run in parts if together.changed or not _waits(ctx, run)]
        if request.dry_run:
            resume.restart(ctx, ended[0] if ended else hosts[0], store, request)
            return 0
        attempt = 1 + max((run.state.attempt or 0) if run.state else 0 for run in known)
        started: list[Host] = []
        try:
            for host in ended or hosts[:1]:  # none: the error says that it is running
                resume.restart(ctx, host, store, request, host.label in moved, together)
                started.append(host)
            met = group.wait_until_met(ctx, hosts, run_id, attempt)
        except Unreachable:
            raise  # what was started waits for the others, and ends by itself where they do not come
        except GpujobError:
            for host in started:
                with contextlib.suppress(GpujobError):
                    helper.stop(host, run_id, ctx.who, now=True)
            raise
        for host, run in reversed(list(zip(hosts, met, strict=True))):
            runs.remember(ctx, store, host, [run])
        label = groups.join([host.label for host in hosts])
        resume.tell(ctx, met[0], label, known[0].checkpoints.last, request)
        return follow.stream(ctx, hosts[0], run_id) if request.follow else 0


def _moves(parts: Sequence[_Part]) -> tuple[Together, frozenset[str]]:
    """What all hosts are told where an instance was replaced, and the labels of the new ones."""
    (first, run), hosts = parts[0], [host for host, _ in parts]
    labels = [host.label for host in hosts]
    before = run.group.hosts if run.group else ()
    moved = frozenset(labels) - frozenset(before)
    if not moved:
        return Together(hosts), frozenset()
    resources = run.record.resources if run.record else Resources()
    addresses = groups.known_addresses(resources, helper.facts(first, []).addresses)
    return Together(hosts, GroupChanges(tuple(labels), tuple(addresses))), moved


def _end_waiting(ctx: Context, parts: Sequence[_Part]) -> None:
    """Ends the run where it waits for a host that was replaced: it is started again with the new one."""
    for host, run in parts:
        if _waits(ctx, run):
            helper.stop(host, run.id, ctx.who, now=True)


def _waits(ctx: Context, run: RunFacts) -> bool:
    return isinstance(runstate.fold(run, ctx.now()), runstate.Running)
