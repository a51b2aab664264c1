"""`gpujob monitor`: a screen that is refreshed, the log as it is written, or the tmux session itself."""

from __future__ import annotations

import os

from orchestrator import registry
from orchestrator.commands import config, runs
from orchestrator.context import Context
from orchestrator.core import events, runstate
from orchestrator.core.history import History
from orchestrator.errors import Exit, GpujobError, JobFailed, NotFound
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host
from orchestrator.view import answers, dashboard, log
from orchestrator.view import status as view
from orchestrator.view.status import RunReport

_READ = 4 << 20  # bytes of events that one refresh reads, of however many


def monitor(ctx: Context, word: str | None, on: str | None, mode: str, interval: float) -> int:
    """`mode`: screen, stream or attach. 6 when the run failed, 130 on Ctrl-C; the run goes on."""
    settings = config.load(ctx)
    store = Store(ctx.state_dir)
    with registry.target(ctx, settings, runs.find_target(ctx, store, on, word)).connect() as host:
        run_id = runs.get(ctx, host, store, word).id
        if mode == "attach":
            _attach(ctx, host, run_id)
        if mode == "stream":
            return stream(ctx, host, run_id)
        return _screen(ctx, host, run_id, interval)


def stream(ctx: Context, host: Host, run_id: str) -> int:
    """The log so far, then what is added, byte for byte, until the run ends."""
    writer = log.Writer(ctx.stderr if ctx.json else ctx.stdout)  # stdout is for the one object at the end
    try:
        for block in host.follow(run_id, "log"):
            writer.write(block)
    except KeyboardInterrupt:
        return interrupted(ctx, run_id)
    writer.close()
    return _ended(ctx, host, run_id)


def _screen(ctx: Context, host: Host, run_id: str, interval: float) -> int:
    history = History()
    offset = 0
    try:
        with dashboard.open_screen(ctx) as screen:
            while True:
                text, offset = helper.read_events(host, run_id, offset, _READ)
                history.add(events.parse(text.splitlines()))
                snapshot = helper.look(host, run_id, screen.log_lines)
                if not snapshot.runs:
                    raise _removed(run_id)
                report = RunReport(snapshot.runs[0], runstate.fold(snapshot.runs[0], ctx.now()))
                screen.show(report, history, snapshot.machine)
                if not isinstance(report.state, runstate.GOING):
                    break
                ctx.sleep(interval)
    except KeyboardInterrupt:
        return interrupted(ctx, run_id)
    return _ended(ctx, host, run_id)


def _removed(run_id: str) -> NotFound:
    return NotFound(f"run {run_id} was removed while it was watched", "", "gpujob status")


def interrupted(ctx: Context, run_id: str) -> int:
    """What goes on; with --json, as the error of every interrupted command."""
    if ctx.json:
        raise KeyboardInterrupt
    ctx.talk(f"\nrun {run_id} goes on; next:\n  gpujob monitor {run_id}\n  gpujob stop {run_id}")
    return Exit.INTERRUPTED


def _ended(ctx: Context, host: Host, run_id: str) -> int:
    """Rings, prints how the run ended; raises when it failed."""
    ctx.ring()
    facts = helper.find_run(host, run_id)
    if facts is None:
        raise _removed(run_id)
    runs.remember(ctx, Store(ctx.state_dir), host, [facts])
    report = RunReport(facts, runstate.fold(facts, ctx.now()), host.label)
    state, headline = report.state, view.headline(report)
    has_failed = isinstance(state, runstate.Failed | runstate.Lost)
    if ctx.json:
        ctx.answer(answers.Monitor(run=view.run_json(report)))
        return Exit.JOB_FAILED if has_failed else Exit.DONE
    what = f"run {run_id} {runstate.word(state)}" + (f": {headline}" if headline else "")
    if has_failed:
        last_line = facts.log.tail[-1] if facts.log.tail else "its log is empty"
        raise JobFailed(what, last_line, _next(state, run_id))
    if isinstance(state, runstate.Damaged):
        raise GpujobError(what, "how it ended cannot be read", f"gpujob ssh {run_id}")
    ctx.talk(what)
    return Exit.DONE


def _next(state: runstate.RunState, run_id: str) -> str:
    if isinstance(state, runstate.Lost) and state.resumable_from is not None:
        return f"gpujob deploy --resume {run_id}"
    return f"gpujob monitor {run_id} --stream shows all of its log"


def _attach(ctx: Context, host: Host, run_id: str) -> None:
    words, env = host.attach(run_id)
    if not (ctx.stdin.isatty() and ctx.stdout.isatty()):
        raise GpujobError("--attach needs a terminal", "", f"gpujob monitor {run_id} --stream")
    keys = host.detach_keys().replace("C-", "Ctrl-")
    nested = "; Ctrl-b d would detach your own tmux" if keys.count("Ctrl-") > 1 else ""
    ctx.talk(f"attaching; {keys} leaves it running{nested}")
    os.execvpe(words[0], words, env)
