"""`gpujob stop [RUN]`: asks for a checkpoint, ends every process of the run, verifies that, cleans up."""

from __future__ import annotations

from orchestrator import registry
from orchestrator.commands import config, hosts, runs
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.hostfacts import RunFacts
from orchestrator.core.text import duration
from orchestrator.errors import GpujobError, UsageError
from orchestrator.instances.cloud import Account
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.helper import StopResult


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
    settings = config.load(ctx)
    store = Store(ctx.state_dir)
    if purge and word is None:
        raise UsageError("--purge removes a run for good", "it must be named", "gpujob stop RUN --purge")
    with registry.target(ctx, settings, runs.find_target(ctx, store, on, word)).connect() as host:
        if terminate:
            hosts.require_instance(Account(ctx), host.label)  # before anything is stopped
        run = runs.get(ctx, host, store, word)
        _confirm(ctx, run, clean, purge)
        if run.has_processes and not now and not ctx.json:
            grace = duration(run.record.limits.grace_seconds if run.record else 60)
            ctx.talk(f"asking {run.id} for a checkpoint, up to {grace}; --now does not wait")
        ctx.begin(f"the stop of {run.id}, which its host may still carry out")
        result = helper.stop(host, run.id, ctx.who, now)
        if result.left:
            pids = " ".join(str(pid) for pid in result.left)
            raise GpujobError(f"processes of {run.id} are left", f"pids {pids}", "gpujob doctor")
        runs.remember(ctx, store, host, [result.run])
        ctx.begin(f"the removal of files of {run.id}")
        removed = helper.clean(host, run.id, purge) if clean or purge else []
        if purge:
            store.forget_run(run.id)
        label = host.label
    _report(ctx, result, removed)
    return hosts.down(ctx, label, discard=False, purge=False) if terminate else 0


def _confirm(ctx: Context, run: RunFacts, clean: bool, purge: bool) -> None:
    who, outputs = (run.record.who, run.record.outputs) if run.record else (None, ())
    if run.has_processes and who not in (None, ctx.who):
        ctx.confirm(f"{run.id} was started by {who}. Stopping it ends their training.")
    if purge:
        steps = len(run.checkpoints.steps)
        ctx.confirm(f"--purge removes everything of {run.id}: its log and {steps} checkpoint(s).")
    elif clean and outputs:
        ctx.confirm(
            f"--clean removes the outputs of {run.id} ({', '.join(outputs)}); gpujob fetch downloads them."
        )


def _report(ctx: Context, result: StopResult, removed: list[str]) -> None:
    run, state = result.run, runstate.fold(result.run, ctx.now())
    if ctx.json:
        fields = {"run": run.id, **runstate.as_dict(state), "was_going": result.was_going}
        ctx.answer({**fields, "removed": removed})
        return
    step = run.checkpoints.last
    kept = f"; its last checkpoint is {step}" if step is not None else "; it left no checkpoint"
    was = "stopped" if result.was_going else f"had ended before ({runstate.word(state)})"
    ctx.out(f"{run.id} {was}, no process is left{kept}")
    for path in removed:
        ctx.talk(f"  removed {path}")
