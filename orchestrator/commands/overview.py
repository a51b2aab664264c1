"""`gpujob monitor` without a run: every live run on every known host."""

from __future__ import annotations

import threading

import msgspec

from orchestrator import registry
from orchestrator.commands import monitor, status
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.hostfacts import Machine
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.text import harmless
from orchestrator.errors import Exit, GpujobError, Unreachable
from orchestrator.instances import prices
from orchestrator.instances.records import InstanceStore
from orchestrator.settings_files import Setting
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host
from orchestrator.view import keys
from orchestrator.view import overview as view
from orchestrator.view.keys import Keys
from orchestrator.view.overview import LiveRun
from orchestrator.view.status import RunReport

_DISCOVERY = 30.0  # seconds after which a host is asked for runs that are new
_LEAVE = "any key returns to all runs; Ctrl-C ends"
_SECOND_DIGIT = 0.7  # seconds to wait for it
_FIRST = 4.0  # seconds to wait for the first answers
_ENTER = ("\r", "\n")
_MOVES = {"\x1b[A": -1, "\x1bOA": -1, "k": -1, "\x1b[B": 1, "\x1bOB": 1, "j": 1}


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


class _Watched(msgspec.Struct):
    """A host that is asked again and again by a thread of its own, over one connection."""

    ctx: Context
    settings: dict[str, Setting]
    label: str
    interval: float
    stop: threading.Event
    runs: tuple[RunFacts, ...] = ()
    machine: Machine = msgspec.field(default_factory=Machine)
    since: float | None = None
    why: str = ""
    first: threading.Event = msgspec.field(default_factory=threading.Event)

    @property
    def outage(self) -> str:
        return view.outage(self.label, self.since, self.why)

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
        known = instances.members(instance) if instance else ()
        price = sum(prices.of(one).running for one in known) if known else None
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
    chosen, trouble = 0, ""
    with keys.opened(ctx) as pressed:
        screen = view.open_screen(ctx)
        screen.start()
        try:
            while True:
                live = _live(ctx, instances, hosts)
                chosen = max(0, min(chosen, len(live) - 1))
                notices = {host.label: host.outage for host in hosts if host.since}
                screen.show(live, {**notices, **({"": trouble} if trouble else {})}, chosen)
                is_known = all(host.since is None and host.first.is_set() for host in hosts)
                if not live and not screen.is_terminal and is_known:
                    return Exit.DONE
                key = _whole_number(pressed, pressed.wait(interval), len(live))
                trouble = "" if key else trouble
                chosen += _MOVES.get(key, 0)
                if key == "q":
                    raise KeyboardInterrupt
                number = int(key) - 1 if key.isdecimal() else chosen
                if live and (key in _ENTER or key.isdecimal()) and 0 <= number < len(live):
                    screen.stop()
                    trouble = _open(ctx, settings, live[number], interval)
                    screen = view.open_screen(ctx)
                    screen.start()
        finally:
            screen.stop()


def _whole_number(pressed: Keys, key: str, count: int) -> str:
    """With the second digit, if there are runs with two."""
    if not key.isdecimal() or 10 * int(key) > count:
        return key
    second = pressed.wait(_SECOND_DIGIT)
    return key + second if second.isdecimal() else key


def _open(ctx: Context, settings: dict[str, Setting], run: LiveRun, interval: float) -> str:
    """Shows one run until a key is pressed or it has ended; what prevents that, in one line."""
    try:
        with registry.target(ctx, settings, run.report.target).connect() as host:
            monitor.watch(ctx, host, run.report.facts, interval, _LEAVE)
    except GpujobError as error:
        line = f"{run.report.facts.id}: {error.what}" + (f": {error.why}" if error.why else "")
        return harmless(line).replace("\n", " ")
    return ""
