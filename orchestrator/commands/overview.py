"""`gpujob monitor` without a run: every live run on every known host."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from orchestrator import registry
from orchestrator.commands import monitor, rows, status
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.hostfacts import RunFacts
from orchestrator.core.machine import Machine
from orchestrator.core.settings import Setting
from orchestrator.errors import Exit, GpujobError, Unreachable
from orchestrator.instances.records import InstanceStore
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host
from orchestrator.view import keys
from orchestrator.view import overview as view
from orchestrator.view.overview import LiveRun
from orchestrator.view.status import RunReport

_DISCOVERY = 30.0  # seconds after which a host is asked for runs that are new
_FIRST = 4.0  # seconds to wait for the first answers
_ENTER, _UP, _DOWN = ("\r", "\n"), "\x1b[A", "\x1b[B"


def overview(ctx: Context, store: Store, settings: dict[str, Setting], interval: float) -> int | None:
    """Shows the live runs until Ctrl-C. None where there is one at most: then that run is shown by itself."""
    now = ctx.now()
    going = [run for run in store.runs().values() if runstate.is_going(run.facts, now)]
    is_screen = ctx.stdout.isatty() and ctx.stdin.isatty()
    if not is_screen and len(going) < 2:
        return None
    instances = InstanceStore(ctx.state_dir)
    labels = status.known_labels(store, instances, settings)
    stop = threading.Event()
    hosts = [_Watched(ctx, settings, label, interval, stop) for label in labels]
    for host in hosts:
        host.runs = tuple(run.facts for run in going if run.target == host.label)
    for host in hosts:
        threading.Thread(target=host.run, daemon=True).start()
    try:
        if len(going) < 2:
            _wait_for_first(ctx, hosts)
            if len(_live(ctx, instances, hosts)) < 2:
                return None
        return _show(ctx, settings, instances, hosts, interval)
    except KeyboardInterrupt:
        ctx.talk("\nthe runs go on; next:\n  gpujob status")
        return Exit.INTERRUPTED
    finally:
        stop.set()


@dataclass
class _Watched:
    """A host that is asked again and again by a thread of its own, over one connection."""

    ctx: Context
    settings: dict[str, Setting]
    label: str
    interval: float
    stop: threading.Event
    runs: tuple[RunFacts, ...] = ()
    machine: Machine = field(default_factory=Machine)
    since: float | None = None
    why: str = ""
    first: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with registry.target(self.ctx, self.settings, self.label).connect() as host:
                    self._ask(host)
            except Exception as error:  # of a thread: shown beside the host's name
                self.since = self.ctx.now() if self.since is None else self.since
                self.why = error.what if isinstance(error, GpujobError) else str(error)
                self.first.set()
                if not isinstance(error, Unreachable):
                    return
            self.stop.wait(self.interval)

    def _ask(self, host: Host) -> None:
        discovered = None
        while not self.stop.is_set():
            now = self.ctx.now()
            if discovered is None or now - discovered >= _DISCOVERY:
                snapshot, discovered = helper.snapshot(host, 0), now
            else:
                snapshot = helper.look_at(host, [run.id for run in self.runs])
            self.runs = tuple(run for run in snapshot.runs if runstate.is_going(run, now))
            self.machine, self.since = snapshot.machine, None
            self.first.set()
            self.stop.wait(self.interval)


def _wait_for_first(ctx: Context, hosts: list[_Watched]) -> None:
    """Waits a moment for the answer of each host."""
    until = ctx.now() + _FIRST
    for host in hosts:
        host.first.wait(max(0.0, until - ctx.now()))


def _live(ctx: Context, instances: InstanceStore, hosts: list[_Watched]) -> list[LiveRun]:
    live = []
    for host in hosts:
        instance = instances.find_label(host.label)
        price = rows.instance(instance, ctx.now()).usd_per_hour if instance else None
        for facts in host.runs:
            report = RunReport(facts, runstate.fold(facts, ctx.now()), host.label)
            note = "no answer" if host.since is not None else "" if host.first.is_set() else "asking"
            live.append(LiveRun(report, host.machine, price, note))
    return live


def _show(
    ctx: Context,
    settings: dict[str, Setting],
    instances: InstanceStore,
    hosts: list[_Watched],
    interval: float,
) -> int:
    chosen = 0
    with keys.opened(ctx) as pressed:
        screen = view.open_screen(ctx)
        screen.start()
        try:
            while True:
                live = _live(ctx, instances, hosts)
                chosen = max(0, min(chosen, len(live) - 1))
                screen.show(
                    live, {host.label: (host.since, host.why) for host in hosts if host.since}, chosen
                )
                is_known = all(host.since is None and host.first.is_set() for host in hosts)
                if not live and not screen.is_terminal and is_known:
                    return Exit.DONE
                key = pressed.wait(interval)
                chosen += {_UP: -1, "k": -1, _DOWN: 1, "j": 1}.get(key, 0)
                if key == "q":
                    raise KeyboardInterrupt
                number = int(key) - 1 if key.isdigit() else chosen
                if live and (key in _ENTER or key.isdigit()) and 0 <= number < len(live):
                    screen.stop()
                    _open(ctx, settings, live[number], interval)
                    screen = view.open_screen(ctx)
                    screen.start()
        finally:
            screen.stop()


def _open(ctx: Context, settings: dict[str, Setting], run: LiveRun, interval: float) -> None:
    with registry.target(ctx, settings, run.report.target).connect() as host:
        monitor.watch(ctx, host, run.report.facts.id, interval, "any key returns to all runs; Ctrl-C ends")
