"""`gpujob stop [RUN]`: asks for a checkpoint, ends every process of the run, verifies that, cleans up."""

from __future__ import annotations

import shlex

from orchestrator import registry, settings_files
from orchestrator.commands import hosts, runs
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.runfacts import Files, RunFacts, Written
from orchestrator.core.text import counted, duration, size
from orchestrator.errors import GpujobError, NotFound, UsageError
from orchestrator.instances.cloud import Account
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host
from orchestrator.targets.helper import StopResult
from orchestrator.view import answers
from orchestrator.view import status as view
from orchestrator.view.status import RunReport

_NAMED = 3  # number of files that a question names


def stop(
    ctx: Context,
    word: str | None,
    on: str | None,
    now: bool,
    clean: bool,
    purge: bool,
    terminate: bool = False,
) -> int:
    """0 when no process of the run is left, also when there was none; 1 when some could not be ended."""
    settings = settings_files.load(ctx)
    store = Store(ctx.state_dir)
    if purge and word is None:
        raise UsageError("--purge removes a run for good", "it must be named", "gpujob stop RUN --purge")
    with registry.target(ctx, settings, runs.find_target(ctx, store, on, word)).connect() as host:
        if terminate:
            hosts.require_instance(Account(ctx), host.label)  # before anything is stopped
        known = store.runs().get(word or "")
        try:
            run = runs.get(ctx, host, store, word)
        except NotFound:
            if terminate or known is None or known.target != host.label:
                raise
            return _report_removed(ctx, store, host, known.facts)
        _require_here(ctx, run)
        _confirm_other_user(ctx, run)
        if clean or purge:
            _confirm_removal(ctx, run, helper.written(host, run.id), purge)
        if run.has_processes and not now and not ctx.json:
            grace = duration(run.record.limits.grace_seconds if run.record else 60)
            ctx.talk(f"asking {run.id} for a checkpoint, up to {grace}; --now does not wait")
        ctx.step = f"the stop of {run.id}, which its host may still carry out"
        result = helper.stop(host, run.id, ctx.who, now)
        if result.left:
            raise _processes_left(result, "" if host.is_local else f"on {host.label}: ")
        runs.remember(ctx, store, host, [result.run])
        if on is None:
            _stop_others(ctx, store, run, host.label, now, clean, purge)
        ctx.step = f"the removal of files of {run.id}"
        removed = _clean(host, store, run, purge) if clean or purge else ()
        label = host.label
    if not (ctx.json and terminate):  # the answer is then about the instance
        _report(ctx, host, result, removed)
    return hosts.down(ctx, label, discard=False, purge=False) if terminate else 0


def _report_removed(ctx: Context, store: Store, host: Host, run: RunFacts) -> int:
    """Of a run whose folder was deleted by hand: what stop, --clean and --purge are for is done already.

    Its host lists runs by the marks of their processes, too, so none with its mark is left.
    """
    store.forget_run(run.id)
    if ctx.json:
        shown = view.run_json(RunReport(run, runstate.fold(run, ctx.now()), host.label))
        ctx.answer(answers.Stop(run=shown, was_going=False, removed=(), written=Written()))
        return 0
    ctx.out(f"{run.id} has no folder on {host.label} any more, and no process is left")
    return 0


def _stop_others(
    ctx: Context, store: Store, run: RunFacts, first: str, now: bool, clean: bool, purge: bool
) -> None:
    """Of a run over several hosts; their supervisors have ended it when that of `first` was stopped."""
    if run.group is None:
        return
    from orchestrator.commands import group  # noqa: PLC0415 - only this needs it

    def end(host: Host) -> None:
        result = helper.stop(host, run.id, ctx.who, now)
        if result.left:
            raise _processes_left(result, f"on {host.label}: ")
        if clean or purge:
            _clean(host, store, run, purge)

    group.stop_others(ctx, run, first, end)


def _require_here(ctx: Context, run: RunFacts) -> None:
    """GpujobError for a run whose processes only another machine can see and end."""
    state = runstate.fold(run, ctx.now())
    if isinstance(state, runstate.Elsewhere):
        why = f"it is alive on {state.host}, which shares the folder of runs with this host"
        raise GpujobError(
            f"{run.id} cannot be stopped from here", why, f"on {state.host}: gpujob stop {run.id}"
        )


def _processes_left(result: StopResult, where: str) -> GpujobError:
    """The pids, whose they are, and the line that ends them; `where` is put before it."""
    pids = " ".join(str(pid) for pid in result.left)
    details = "; ".join(str(process) for process in result.processes)
    why = f"pids {pids}" + (f": {details}" if details else "")
    next_step = f"{where}sudo kill -9 {pids}, then gpujob stop {result.run.id}"
    return GpujobError(f"processes of {result.run.id} could not be ended", why, next_step)


def _confirm_other_user(ctx: Context, run: RunFacts) -> None:
    who = run.record.who if run.record else None
    if run.has_processes and who not in (None, ctx.who):
        ctx.confirm(f"{run.id} was started by {who}. Stopping it ends their training.")


def _confirm_removal(ctx: Context, run: RunFacts, written: Written, purge: bool) -> None:
    """Asks before anything is deleted of which there may be no other copy."""
    if purge:
        at_risk = written.checkpoints + written.outputs + written.others
        ctx.confirm(f"--purge removes everything of {run.id}: its log and {describe(at_risk)}.")
        return
    at_risk = written.outputs + written.others
    if at_risk.unfetched.files:
        what = "the outputs and other files" if written.others.unfetched.files else "the outputs"
        ctx.confirm(f"--clean removes {what} in the working folder of {run.id}: {describe(at_risk)}.")


def describe(files: Files) -> str:
    """`3 files (1.2 GiB), 2 of them (1.1 GiB) never fetched: checkpoints/model.pt, ...`."""
    if not files.files:
        return "no other file"
    left = files.unfetched
    total = f"{counted(files.files, 'file')} ({size(files.bytes)})"
    if not left.files:
        return f"{total}, all fetched"
    some = ", ".join(left.largest[:_NAMED]) + (", ..." if left.files > _NAMED else "")
    which = (
        "never fetched"
        if left.files == files.files
        else f"{left.files} of them ({size(left.bytes)}) never fetched"
    )
    return f"{total}, {which}: {some}"


def _clean(host: Host, store: Store, run: RunFacts, purge: bool) -> tuple[str, ...]:
    """The deleted paths. GpujobError with what could not be deleted."""
    result = helper.clean(host, run.id, purge)
    if result.left:
        why = "; ".join(result.left)
        path = shlex.quote(result.left[0].rpartition(": ")[0])
        raise GpujobError(f"not all of {run.id} could be deleted", why, f"on {host.label}: sudo rm -r {path}")
    if purge:
        store.forget_run(run.id)
    return result.removed


def _report(ctx: Context, host: Host, result: StopResult, removed: tuple[str, ...]) -> None:
    run, state = result.run, runstate.fold(result.run, ctx.now())
    if ctx.json:
        shown = view.run_json(RunReport(run, state, host.label))
        ctx.answer(
            answers.Stop(run=shown, was_going=result.was_going, removed=removed, written=result.written)
        )
        return
    if result.was_going and run.state and not run.state.attempt and not run.log.bytes:
        ctx.out(f"{run.id} is removed from the queue; it never started")
        return
    was = "stopped" if result.was_going else f"had ended before ({runstate.word(state)})"
    where = f" on this host; it last ran on {run.last_host}" if run.last_host and run.ended is None else ""
    if not result.sees_all:
        where += " of this user; the host hides the processes of others"
    ctx.out(f"{run.id} {was}, no process is left{where}; {_kept(run, result.written)}")
    for path in removed:
        ctx.talk(f"  removed {path}")


def _kept(run: RunFacts, written: Written) -> str:
    step, files = run.checkpoints.last, written.checkpoints + written.outputs
    if not files.files:
        return "it wrote no file to checkpoints/ or its outputs"
    last = f"its last checkpoint is {step}; " if step is not None else ""
    return f"{last}checkpoints/ and outputs hold {describe(files)}"
