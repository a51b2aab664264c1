"""`gpujob monitor`: a screen renewed every few seconds, the log as it is written, or the real session."""

from __future__ import annotations

import os
from typing import Any

from orchestrator import registry
from orchestrator.commands import config, runs
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.errors import Exit, GpujobError, JobFailed, NotFound
from orchestrator.store import Store
from orchestrator.targets.base import Host
from orchestrator.view import dashboard, log
from orchestrator.view import status as view

_READ = 4 << 20


def monitor(ctx: Context, word: str | None, on: str | None, mode: str, interval: float) -> int:
    """`mode`: screen, stream or attach. 6 when the run failed, 130 on Ctrl-C; the run goes on."""
    settings = config.load(ctx)
    store = Store(ctx.state_dir)
    with registry.target(ctx, settings, runs.where(ctx, store, on, word)).connect() as host:
        seen = runs.find(ctx, host, store, word)
        if mode == "attach":
            _attach(ctx, host, seen["id"])
        if mode == "stream":
            return stream(ctx, host, seen["id"])
        return _screen(ctx, host, seen["id"], interval)


def stream(ctx: Context, host: Host, run_id: str) -> int:
    """What was printed before, then what is printed now, byte for byte, to the end of the run."""
    shown = log.Writer(ctx.stderr if ctx.json else ctx.stdout)  # stdout is for the one object at the end
    try:
        for block in host.follow(run_id, "log", 0):
            shown.write(block)
    except KeyboardInterrupt:
        return _left(ctx, run_id)
    shown.close()
    return _ended(ctx, host, run_id)


def _screen(ctx: Context, host: Host, run_id: str, interval: float) -> int:
    lines: list[str] = []
    offset = 0
    try:
        with dashboard.open_screen(ctx) as screen:
            while True:
                read = host.ask("read_file", run=run_id, file="events.jsonl", offset=offset, limit=_READ)
                lines += read["text"].splitlines()
                more, offset = read["offset"] > offset, read["offset"]
                if more and len(read["text"]) >= _READ // 2:
                    continue
                answer = host.ask("status", runs=[run_id], lines=8)
                if not answer["runs"]:
                    raise NotFound(f"run {run_id} was removed while it was watched", "", "gpujob status")
                seen = answer["runs"][0]
                state = runstate.fold(seen, ctx.now())
                screen.show(_picture(seen, state, lines, answer))
                if not isinstance(state, runstate.GOING):
                    break
                ctx.sleep(interval)
    except KeyboardInterrupt:
        return _left(ctx, run_id)
    return _ended(ctx, host, run_id)


def _picture(
    seen: dict[str, Any], state: runstate.RunState, lines: list[str], answer: dict[str, Any]
) -> dict[str, Any]:
    described = {"id": seen["id"], **runstate.as_dict(state), **view.telling(seen)}
    return {"run": described, "events": lines, "host": answer}


def _left(ctx: Context, run_id: str) -> int:
    ctx.talk(f"\nrun {run_id} goes on; gpujob monitor {run_id} looks again, gpujob stop {run_id} ends it")
    return Exit.INTERRUPTED


def _ended(ctx: Context, host: Host, run_id: str) -> int:
    """Says how the run ended; raises when it failed."""
    seen = runs.look(host, run_id)
    if seen is None:
        raise NotFound(f"run {run_id} was removed while it was watched", "", "gpujob status")
    runs.remember(ctx, Store(ctx.state_dir), host, [seen])
    state = runstate.fold(seen, ctx.now())
    described = {"id": run_id, **runstate.as_dict(state), **view.telling(seen)}
    if ctx.json:
        ctx.answer(described)
        return Exit.JOB_FAILED if isinstance(state, runstate.Failed | runstate.Lost) else Exit.DONE
    if isinstance(state, runstate.Failed | runstate.Lost):
        last = described["last_lines"][-1:] or ["its log is empty"]
        raise JobFailed(
            f"run {run_id} {described['state']}: {view.headline(described)}",
            last[0],
            _next(state, run_id),
        )
    if not ctx.json:
        ctx.talk(f"run {run_id} {described['state']}" + (f": {h}" if (h := view.headline(described)) else ""))
    return Exit.DONE


def _next(state: runstate.Failed | runstate.Lost, run_id: str) -> str:
    if isinstance(state, runstate.Lost) and state.resumable_from is not None:
        return f"gpujob deploy JOB --resume {run_id}"
    return f"gpujob monitor {run_id} --stream shows all of its log"


def _attach(ctx: Context, host: Host, run_id: str) -> None:
    words, env = host.attach(run_id)
    if not (ctx.stdin.isatty() and ctx.stdout.isatty()):
        raise GpujobError("--attach needs a terminal", "", "gpujob monitor --stream")
    ctx.talk("attaching; Ctrl-b d leaves it running")
    os.execvpe(words[0], words, env)
