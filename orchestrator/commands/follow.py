"""A run followed: its log until it ends (`monitor --stream`, `deploy --follow`), and the events it adds."""

from __future__ import annotations

from orchestrator.commands import runs
from orchestrator.context import Context
from orchestrator.core import events, runstate
from orchestrator.core.events import Event
from orchestrator.core.runfacts import RunFacts
from orchestrator.errors import Exit, GpujobError, JobFailed, NotFound
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host
from orchestrator.view import answers, headlines, log
from orchestrator.view import status as view
from orchestrator.view.status import RunReport


def stream(ctx: Context, host: Host, run_id: str) -> int:
    """The log so far, then what is added, byte for byte, until the run ends."""
    writer = log.Writer(ctx.stderr if ctx.json else ctx.stdout)  # stdout is for the one object at the end
    try:
        for block in host.follow(run_id, "log"):
            writer.write(block)
    except KeyboardInterrupt:
        return interrupted(ctx, run_id)
    writer.close()
    return ended(ctx, host, run_id)


def waiting(run: RunFacts) -> str:
    """Where a run waits in the queue of its host; empty for a run that does not."""
    state = runstate.fold(run, 0.0)
    if not isinstance(state, runstate.Queued):
        return ""
    return f"run {run.id} waits in the queue, {headlines.place(state)}"


def interrupted(ctx: Context, run_id: str) -> int:
    """What goes on; with --json, as the error of every interrupted command."""
    if ctx.json:
        raise KeyboardInterrupt
    ctx.talk(f"\nrun {run_id} goes on; next:\n  gpujob monitor {run_id}\n  gpujob stop {run_id}")
    return Exit.INTERRUPTED


def ended(ctx: Context, host: Host, run_id: str) -> int:
    """Rings, prints how the run ended; raises when it failed."""
    ctx.ring()
    facts = helper.find_run(host, run_id)
    if facts is None:
        raise removed(run_id)
    runs.remember(ctx, Store(ctx.state_dir), host, [facts])
    report = RunReport(facts, runstate.fold(facts, ctx.now()), host.label)
    state, headline = report.state, view.headline(report)
    has_failed = isinstance(state, runstate.Failed | runstate.Lost)
    if ctx.json:
        ctx.answer(answers.Monitor(run=view.run_json(report)))
        return Exit.JOB_FAILED if has_failed else Exit.DONE
    what = f"run {run_id} {runstate.word(state)}" + (f": {headline}" if headline else "")
    if has_failed:
        why = f"its log ends with: {facts.log.tail[-1]}" if facts.log.tail else "its log is empty"
        raise JobFailed(what, why, _next(state, run_id))
    if isinstance(state, runstate.Damaged):
        raise GpujobError(what, "how it ended cannot be read", f"gpujob ssh {run_id}")
    ctx.talk(what)
    return Exit.DONE


def _next(state: runstate.RunState, run_id: str) -> str:
    if isinstance(state, runstate.Lost) and state.resumable_from is not None:
        return f"gpujob deploy --resume {run_id}"
    return f"gpujob logs {run_id}"


def removed(run_id: str) -> NotFound:
    return NotFound(f"run {run_id} was removed while it was watched", "", "gpujob status")


_READ = 4 << 20  # bytes of events that one look reads, of however many


class RunEvents:
    """The events of a run, or what its log says of progress and metrics as long as it writes none."""

    def __init__(self) -> None:
        self._offsets = {helper.read_events: 0, helper.read_log_events: 0}

    def read(self, host: Host, run: RunFacts) -> tuple[tuple[Event, ...], bool]:
        """What is new, and whether it begins with the run's first event."""
        read = helper.read_log_events if run.from_log else helper.read_events
        is_first = self._offsets[read] == 0
        text, self._offsets[read] = read(host, run.id, self._offsets[read], _READ)
        return events.parse(text.splitlines()), is_first
