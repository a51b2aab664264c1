"""`gpujob monitor`: a screen that is refreshed, the log as it is written, or the tmux session itself."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from orchestrator import registry, settings_files
from orchestrator.commands import follow, rows, runs
from orchestrator.commands.follow import RunEvents
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.history import History
from orchestrator.core.hostfacts import Machine
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.values import require_positive
from orchestrator.errors import GpujobError, Unreachable
from orchestrator.instances.records import InstanceStore
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host
from orchestrator.view import dashboard, keys
from orchestrator.view.dashboard import NOTHING, Surroundings
from orchestrator.view.instances import money
from orchestrator.view.status import RunReport

_MOST_OUTAGE = 600.0  # seconds without an answer after which a script is not kept waiting


def monitor(ctx: Context, word: str | None, on: str | None, mode: str, interval: float) -> int:
    """`mode`: screen, stream or attach. 6 when the run failed, 130 on Ctrl-C; the run goes on.

    The screen without a run shows all live runs, if there are several.
    """
    require_positive("--interval", interval)
    settings = settings_files.load(ctx)
    store = Store(ctx.state_dir)
    if word is None and on is None and mode == "screen" and not ctx.json:
        from orchestrator.commands import overview  # noqa: PLC0415 - only this needs it

        code = overview.overview(ctx, store, settings, interval)
        if code is not None:
            return code
    with registry.target(ctx, settings, runs.find_target(ctx, store, on, word)).connect() as host:
        run = runs.get(ctx, host, store, word)
        run_id = run.id
        if mode != "screen" and run.queue:
            _announce_wait(ctx, run, mode)
        if mode == "attach":
            _attach(ctx, host, run_id)
        if mode == "stream":
            return follow.stream(ctx, host, run_id)
        return _screen(ctx, host, run, interval)


def _announce_wait(ctx: Context, run: RunFacts, mode: str) -> None:
    """GpujobError for `attach`: a run that waits has no session yet."""
    if mode == "attach":
        raise GpujobError(follow.waiting(run), "it has no session yet", f"gpujob monitor {run.id} --stream")
    ctx.talk(f"{follow.waiting(run)}; its log follows once it has started")


def _screen(ctx: Context, host: Host, run: RunFacts, interval: float) -> int:
    try:
        watch(ctx, host, run, interval)
    except KeyboardInterrupt:
        return follow.interrupted(ctx, run.id)
    return follow.ended(ctx, host, run.id)


def watch(ctx: Context, host: Host, run: RunFacts, interval: float, leave: str = "") -> None:
    """Shows a run until it has ended; `leave`: until a key is pressed, and the words that name the key.

    Until the host answers, it is shown as it was last seen.
    """
    reader, outage = _Reader(ctx, host, run), Outage(ctx, host)
    with dashboard.open_screen(ctx) as screen, keys.opened(ctx) as pressed:
        while True:
            with outage.tolerated():
                reader.read(screen.log_lines)
            surroundings = Surroundings(reader.money, outage.text, leave or NOTHING.leave)
            screen.show(reader.report, reader.history, reader.machine, surroundings)
            if not isinstance(reader.report.state, runstate.GOING):
                return
            if pressed.wait(interval) and leave:
                return


class _Reader:
    """A run as it was read last, and its curves so far."""

    def __init__(self, ctx: Context, host: Host, run: RunFacts) -> None:
        self._ctx, self._host, self._run_id = ctx, host, run.id
        self._events = RunEvents()
        self._instances = InstanceStore(ctx.state_dir)
        self.history = History()
        self.report = self._of(run)
        self.machine = Machine()

    def read(self, lines: int) -> None:
        """Raises NotFound if the run is gone."""
        snapshot = helper.look(self._host, self._run_id, lines)
        if not snapshot.runs:
            raise follow.removed(self._run_id)
        facts = snapshot.runs[0]
        self.history.add(self._events.read(self._host, facts)[0])
        self.machine = snapshot.machine
        self.report = self._of(facts)

    def _of(self, facts: RunFacts) -> RunReport:
        return RunReport(facts, runstate.fold(facts, self._ctx.now()), self._host.label)

    @property
    def money(self) -> str:
        """What the instances cost so far, cost an hour, and cost at most; empty for other hosts."""
        instance = self._instances.find_label(self._host.label)
        known = self._instances.of_group(instance) if instance else ()
        return money([rows.instance(one, self._ctx.now()) for one in known])


class Outage:
    """Since when a host does not answer, and why."""

    def __init__(self, ctx: Context, host: Host) -> None:
        self._ctx, self._host = ctx, host
        self._since: float | None = None
        self.text = ""

    @contextlib.contextmanager
    def tolerated(self) -> Iterator[None]:
        """The block may fail to reach the host: on a terminal for ever, else for some minutes."""
        try:
            yield
        except Unreachable as error:
            self._since = self._ctx.now() if self._since is None else self._since
            seconds = self._ctx.now() - self._since
            if self._ctx.json or (not self._ctx.stdout.isatty() and seconds > _MOST_OUTAGE):
                raise
            clock = time.strftime("%H:%M:%S", time.localtime(self._since))
            self.text = f"no answer from {self._host.label} since {clock}: {error.what}"
        else:
            self._since, self.text = None, ""


def _attach(ctx: Context, host: Host, run_id: str) -> None:
    words, env = host.attach(run_id)
    if not (ctx.stdin.isatty() and ctx.stdout.isatty()):
        raise GpujobError("--attach needs a terminal", "", f"gpujob monitor {run_id} --stream")
    keys = host.detach_keys().replace("C-", "Ctrl-")
    nested = "; Ctrl-b d would detach your own tmux" if keys.count("Ctrl-") > 1 else ""
    ctx.talk(f"attaching; {keys} leaves it running{nested}")
    os.execvpe(words[0], words, env)
