"""`gpujob status [RUN]`: the runs that are going and the latest others, with their hosts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from orchestrator import registry
from orchestrator.commands import config, rows, runs
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.hostfacts import RunFacts
from orchestrator.core.settings import Setting
from orchestrator.errors import Exit, GpujobError
from orchestrator.instances import prices
from orchestrator.instances.records import InstanceStore
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.view import status as view
from orchestrator.view.instances import InstanceRow
from orchestrator.view.status import HostReport, RunReport

SHOWN = 10
PATIENCE = 2.0  # seconds for each of several hosts, asked at the same time


def status(ctx: Context, word: str | None, on: str | None, cached: bool, lines: int) -> int:
    """Without `on`: every host that has runs of ours. 0 whatever they do; 3 when RUN names none."""
    settings = config.load(ctx)
    store, instances = Store(ctx.state_dir), InstanceStore(ctx.state_dir)
    if not cached:
        _settle(ctx, instances)
    labels = [on] if on else _labels(store, instances, settings)
    if not labels and not ctx.json:
        ctx.talk("no EC2 instance is up, and no run is known; gpujob deploy JOB --on ec2")
    if cached:
        hosts = [_cached(store, label) for label in labels]
    else:
        hosts = _ask_all(ctx, store, instances, settings, labels, lines, on is not None)
    if word is not None:
        hosts = [_only(hosts, word, ctx.now())]
    reports = [_report(ctx, instances, host) for host in hosts]
    if ctx.json:
        view_runs = [view.run_json(run) for report in reports for run in report.reports]
        ctx.answer({"hosts": [view.host_json(report) for report in reports], "runs": view_runs})
    else:
        view.print_status(ctx, reports, detail=word is not None)
    return 0


def _settle(ctx: Context, instances: InstanceStore) -> None:
    """Without EC2 the rest of the status is still shown; the interrupted launch stays open."""
    if not instances.attempts():
        return
    from orchestrator.instances import ensure  # noqa: PLC0415 - 50 ms that are seldom needed
    from orchestrator.instances.cloud import Account  # noqa: PLC0415

    try:
        ensure.settle(Account(ctx))
    except GpujobError as error:
        ctx.warn(f"EC2 could not be asked about an interrupted launch: {error.what}: {error.why}")


def _labels(store: Store, instances: InstanceStore, settings: dict[str, Setting]) -> list[str]:
    """The default target, every host that has answered, every instance that has not ended or has runs."""
    with_runs = {run.target for run in store.runs().values()}
    known = instances.all()
    ended = {one.label for one in known if one.has_ended and one.label not in with_runs}
    up = [one.label for one in known if not one.has_ended]
    own = settings["target"].value
    if own == "ec2" or (settings["target"].source == "default" and own not in with_runs and up):
        words = [*store.targets(), *up]
    else:
        words = [own, *store.targets(), *up]
    return [label for label in dict.fromkeys(words) if label not in ended]


def _has_ended(instances: InstanceStore, label: str) -> bool:
    instance = instances.find_label(label)
    return instance is not None and instance.has_ended


def _ask_all(
    ctx: Context,
    store: Store,
    instances: InstanceStore,
    settings: dict[str, Setting],
    labels: list[str],
    lines: int,
    named: bool,
) -> list[HostReport]:
    """Each host's report; of one that does not answer, the cached one. A single host must answer or be known,
    and one that was `named` must have runs for that."""
    reports: dict[str, HostReport] = {}
    errors: dict[str, GpujobError] = {}

    def ask(label: str) -> None:
        try:
            if not _has_ended(instances, label):
                reports[label] = _ask(ctx, store, settings, label, lines)
        except GpujobError as error:
            errors[label] = error
        if _has_ended(instances, label):  # as was known, or as was learned just now
            reports[label] = replace(_cached(store, label), unreachable="its instance has ended")

    if len(labels) == 1:
        ask(labels[0])
    else:
        _in_parallel(ask, labels)
    return [
        reports.get(label) or _from_cache(store, instances, label, errors.get(label), len(labels), named)
        for label in labels
    ]


def _in_parallel(ask: Callable[[str], None], labels: list[str]) -> None:
    threads = [threading.Thread(target=ask, args=(label,), daemon=True) for label in labels]
    for thread in threads:
        thread.start()
    timer = threading.Event()
    for _ in range(int(PATIENCE / 0.02)):
        if not any(thread.is_alive() for thread in threads):
            return
        timer.wait(0.02)


def _ask(ctx: Context, store: Store, settings: dict[str, Setting], label: str, lines: int) -> HostReport:
    with registry.target(ctx, settings, label).connect() as host:
        snapshot = helper.snapshot(host, lines)
        runs.remember(ctx, store, host, snapshot.runs, all_of_host=True)
        return HostReport(label, snapshot.runs, snapshot.machine)


def _from_cache(
    store: Store, instances: InstanceStore, label: str, error: GpujobError | None, hosts: int, named: bool
) -> HostReport:
    cached = _cached(store, label)
    known = bool(cached.runs) or (instances.find_label(label) is not None and not named)
    if error and hosts == 1 and not (known and error.exit_code == Exit.UNREACHABLE):
        raise error
    why = f"{error.what}: {error.why}" if error else f"no answer within {PATIENCE:.0f} s"
    return replace(cached, unreachable=why)


def _cached(store: Store, label: str) -> HostReport:
    """The last facts of a host, and when it was asked."""
    facts = tuple(run.facts for run in store.runs().values() if run.target == label)
    return HostReport(label, facts, read_at=store.targets().get(label))


def _only(hosts: list[HostReport], word: str, now: float) -> HostReport:
    """The host that has the run which `word` names, with that run alone."""
    chosen = runs.choose(runs.in_order(run for host in hosts for run in host.runs), word, now)
    host = next(host for host in hosts if chosen in host.runs)
    return replace(host, runs=(chosen,))


def _report(ctx: Context, instances: InstanceStore, host: HostReport) -> HostReport:
    """With every run that is going and the last few of the others, and what is known of an instance."""
    instance = instances.find_label(host.target)
    row = rows.instance(instance, ctx.now()) if instance else None
    reports = []
    for facts in host.runs:
        state = runstate.fold(facts, ctx.now())
        if host.unreachable and isinstance(state, runstate.GOING):
            state = _unknown_state(row, facts, host.unreachable)
        cost = round(prices.run_cost(instance, facts, ctx.now()), 4) if instance else None
        reports.append(RunReport(facts, state, host.target, cost))
    ended = [report for report in reports if not report.is_going]
    shown = {report.facts.id for report in ended[-SHOWN:]}
    chosen = [report for report in reports if report.is_going or report.facts.id in shown]
    return replace(host, instance=row, reports=tuple(chosen))


def _unknown_state(instance: InstanceRow | None, facts: RunFacts, why: str) -> runstate.RunState:
    """Of a run that was going when its host last answered. What a spot instance left is on its volume."""
    if instance and instance.volume and instance.ended is not None:
        return runstate.Preempted(instance.ended, facts.checkpoints.last)
    return runstate.Unreachable(why)
