"""`gpujob deploy --resume` of a run over several hosts."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from orchestrator.commands import follow, group, resume, runs
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.hostfacts import RunFacts
from orchestrator.errors import GpujobError, Unreachable
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host
from orchestrator.targets.group import GroupTarget

if TYPE_CHECKING:
    from orchestrator.commands.deploy import Request


def resume_all(ctx: Context, store: Store, target: GroupTarget, request: Request) -> int:
    """Starts the run on every host where it has ended; a host that waits for the others is left alone."""
    with contextlib.ExitStack() as stack:
        hosts = group.connect(ctx, stack, target)
        known = [runs.get(ctx, host, store, request.resume) for host in hosts]
        run_id = known[0].id
        ended = [host for host, run in zip(hosts, known, strict=True) if not _waits(ctx, run)]
        if request.dry_run:
            resume.restart(ctx, ended[0] if ended else hosts[0], store, request)
            return 0
        attempt = 1 + max((run.state.attempt or 0) if run.state else 0 for run in known)
        begun: list[Host] = []
        try:
            for host in ended or hosts[:1]:  # none: the error says that it is running
                resume.restart(ctx, host, store, request, tells=False)
                begun.append(host)
            met = group.wait_until_met(ctx, hosts, run_id, attempt)
        except Unreachable:
            raise  # what was started waits for the others, and ends by itself where they do not come
        except GpujobError:
            for host in begun:
                with contextlib.suppress(GpujobError):
                    helper.stop(host, run_id, ctx.who, now=True)
            raise
        for host, run in reversed(list(zip(hosts, met, strict=True))):
            runs.remember(ctx, store, host, [run])
        resume.tell(ctx, met[0], target.label, known[0].checkpoints.last, request)
        return follow.stream(ctx, hosts[0], run_id) if request.follow else 0


def _waits(ctx: Context, run: RunFacts) -> bool:
    return isinstance(runstate.fold(run, ctx.now()), runstate.Running)
