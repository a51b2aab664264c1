"""`gpujob stop [RUN]`: checkpoint if it can, end every process of the run, verify, clean up."""

from __future__ import annotations

from typing import Any

from orchestrator import registry
from orchestrator.commands import config, hosts, runs
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.text import duration
from orchestrator.errors import GpujobError, UsageError
from orchestrator.instances.cloud import Account
from orchestrator.store import Store


def stop(
    ctx: Context,
    word: str | None,
    on: str | None,
    now: bool,
    clean: bool,
    purge: bool,
    terminate: bool = False,
) -> int:
    """0 when no process of the run is left, also when there was none; 1 when some would not go."""
    settings = config.load(ctx)
    store = Store(ctx.state_dir)
    if purge and word is None:
        raise UsageError("--purge removes a run for good", "it must be named", "gpujob stop RUN --purge")
    with registry.target(ctx, settings, runs.where(ctx, store, on, word)).connect() as host:
        if terminate:
            hosts.require_instance(Account(ctx), host.label)  # before anything is stopped
        seen = runs.find(ctx, host, store, word)
        going = seen["supervised"] or seen["pids"]
        _ask_first(ctx, seen, bool(going), clean, purge)
        if going and not now:
            _say_patience(ctx, seen)
        answer = host.ask("stop", run=seen["id"], by=ctx.who, now=now)
        if answer["remaining"]:
            pids = " ".join(str(pid) for pid in answer["remaining"])
            raise GpujobError(f"processes of {seen['id']} are left", f"pids {pids}", "gpujob doctor")
        runs.remember(ctx, store, host, [answer["run"]])
        removed = host.ask("clean", run=seen["id"], purge=purge)["removed"] if clean or purge else []
        if purge:
            store.forget_run(seen["id"])
        label = host.label
    _report(ctx, answer, removed)
    return hosts.down(ctx, label, discard=False, purge=False) if terminate else 0


def _ask_first(ctx: Context, seen: dict[str, Any], going: bool, clean: bool, purge: bool) -> None:
    run = seen["run"] or {}
    if going and run.get("who") not in (None, ctx.who):
        ctx.confirm(f"{seen['id']} was started by {run['who']}. Stopping it ends their training.")
    if purge:
        steps = len(seen["checkpoints"]["steps"])
        ctx.confirm(f"--purge removes all of {seen['id']}: its log and {steps} checkpoint(s).")
    elif clean and run.get("outputs"):
        outputs = ", ".join(run["outputs"])
        ctx.confirm(
            f"--clean removes the outputs of {seen['id']} ({outputs}); gpujob fetch brings them home."
        )


def _say_patience(ctx: Context, seen: dict[str, Any]) -> None:
    grace = ((seen["run"] or {}).get("limits") or {}).get("grace_seconds", 60)
    if not ctx.json:
        ctx.talk(f"asking {seen['id']} for a checkpoint, up to {duration(grace)}; --now does not wait")


def _report(ctx: Context, answer: dict[str, Any], removed: list[str]) -> None:
    seen = answer["run"]
    state = runstate.fold(seen, ctx.now())
    if ctx.json:
        told = {"run": seen["id"], **runstate.as_dict(state), "was_going": answer["was_running"]}
        ctx.answer({**told, "removed": removed})
        return
    step = (seen["checkpoints"] or {}).get("last")
    kept = f"; its last checkpoint is {step}" if step is not None else "; it left no checkpoint"
    was = "stopped" if answer["was_running"] else f"had ended before ({runstate.word(state)})"
    ctx.out(f"{seen['id']} {was}, no process is left{kept}")
    for path in removed:
        ctx.talk(f"  removed {path}")
