"""`gpujob fetch [RUN]`: checkpoints, log, events and outputs home; every hash verified, whole or absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator import registry
from orchestrator.commands import config, receive, runs
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.text import size
from orchestrator.errors import Exit, NotFound
from orchestrator.store import Store
from orchestrator.targets.base import Host


def fetch(
    ctx: Context, word: str | None, on: str | None, which: str, to: str | None, follow: bool, keep_box: bool
) -> int:
    """Into ./fetched/<run-id>/ unless `to` says otherwise. A file that is there already and whole is kept.

    A box that was launched for a run that has ended goes with it, once its best and last checkpoints
    are home and verified; not with `keep_box`.
    """
    settings = config.load(ctx)
    store = Store(ctx.state_dir)
    there = runs.where(ctx, store, on, word)
    target = registry.target(ctx, settings, there)
    registry.require_transfer(ctx, target)
    with target.connect_started() as host, host.keep_awake():
        seen = runs.find(ctx, host, store, word)
        folder = ctx.path(to) if to else ctx.path(settings["fetch_dir"].value) / seen["id"]
        if follow:
            code = _follow(ctx, host, seen["id"], which, folder)
            seen = runs.look(host, seen["id"]) or seen
            if code or keep_box or not _may_terminate(ctx, host, seen):
                return code
        if which != "all" and seen["checkpoints"][which] is None and not _outputs(seen):
            _say_why_not(ctx, seen, which)
        goes = not keep_box and _may_terminate(ctx, host, seen)
        home = receive.bring(ctx, host, seen["id"], "all" if goes else which, folder)
        ended = None
        if goes and home.whole(seen, ctx.now()):
            ended = host.terminate()
        elif goes:
            ctx.warn(f"{host.label} is kept: not all came home. gpujob ssh {seen['id']} looks there,")
            ctx.talk(f"gpujob hosts down {host.label} --discard ends it")
    _report(ctx, seen["id"], folder, home)
    if ended and not ctx.json:
        ctx.talk(f"{ended}; --keep-box would have kept it")
    return Exit.DONE


def _may_terminate(ctx: Context, host: Host, seen: dict[str, Any]) -> bool:
    """Whether the host was launched for this run, which has ended, and holds no other."""
    return not isinstance(runstate.fold(seen, ctx.now()), runstate.GOING) and host.may_end_with(seen["id"])


def _outputs(seen: dict[str, Any]) -> bool:
    run = seen["run"] or {}
    return bool(run.get("outputs")) or not run.get("trainer")


def _say_why_not(ctx: Context, seen: dict[str, Any], which: str) -> None:
    state = runstate.fold(seen, ctx.now())
    why = f"it is {runstate.word(state)}; checkpoints: {len(seen['checkpoints']['steps'])}"
    raise NotFound(f"{seen['id']} has no {which} checkpoint", why, f"gpujob monitor {seen['id']} --stream")


def _follow(ctx: Context, host: Host, run_id: str, which: str, folder: Path) -> int:
    """Takes each new checkpoint as it lands, until the run ends."""
    had: Any = None
    try:
        while True:
            seen = runs.look(host, run_id)
            if seen is None:
                raise NotFound(f"run {run_id} is gone")
            marks = seen["checkpoints"]
            going = isinstance(runstate.fold(seen, ctx.now()), runstate.GOING)
            now = marks["steps"] if which == "all" else marks[which]
            if now != had or not going:
                _report(ctx, run_id, folder, receive.bring(ctx, host, run_id, which, folder))
                had = now
            if not going:
                return Exit.DONE
            ctx.sleep(2.0)
    except KeyboardInterrupt:
        ctx.talk(f"\nrun {run_id} goes on; what was fetched is whole")
        return Exit.INTERRUPTED


def _report(ctx: Context, run_id: str, folder: Path, home: receive.Home) -> None:
    shown = ctx.short(folder)
    checkpoints = sorted(f"{shown}/{path}" for path in receive.checkpoints(home.files))
    if ctx.json:
        told = {"run": run_id, "folder": str(folder), "checkpoints": checkpoints, **vars(home)}
        ctx.answer(told)
        return
    ctx.out(shown)
    total = sum(file["bytes"] for file in home.files)
    ctx.talk(f"{len(home.files)} files, {size(total)}, every sha256 verified")
    for path in checkpoints[-1:]:
        ctx.talk(f"next:\n  gpujob verify {path}\n  gpujob predict {path} FILE…")
