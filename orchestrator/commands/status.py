"""`gpujob status [RUN]`: the runs that are going and the latest others, with their hosts."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from orchestrator import registry, settings_files
from orchestrator.commands import ask, rows, runs
from orchestrator.context import Context
from orchestrator.core import groups, queue, runstate
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.values import require_positive
from orchestrator.errors import Exit, GpujobError, UsageError
from orchestrator.instances import inventory, prices
from orchestrator.instances.instance import Instance
from orchestrator.instances.inventory import Inventory
from orchestrator.instances.records import InstanceStore
from orchestrator.settings_files import Setting
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host
from orchestrator.view import answers
from orchestrator.view import status as view
from orchestrator.view.status import HostReport, RunReport

SHOWN = 10


class Query(msgspec.Struct, frozen=True):
    """Which runs are shown, and how hosts are asked.

    `word`: one run, in full. `limit`: how many that have ended, of each host; None: all. `states`, `job` and
    `since` (seconds since 1970) choose among all runs. `wait`: seconds for each of several hosts, None: by
    how fast they answered before.
    """

    word: str | None = None
    on: str | None = None
    cached: bool = False
    lines: int = 5
    limit: int | None = SHOWN
    states: tuple[str, ...] = ()
    job: str | None = None
    since: float | None = None
    wait: float | None = None

    def __post_init__(self) -> None:
        require_positive("--wait", self.wait)
        unknown = [state for state in self.states if state not in runstate.WORDS]
        if unknown:
            what = f"--state {unknown[0]}: there is no such state"
            raise UsageError(what, ", ".join(runstate.WORDS), "gpujob status --state failed")

    @property
    def is_narrow(self) -> bool:
        """Whether it is about one run or one host."""
        return self.word is not None or self.on is not None

    def chooses(self, report: RunReport) -> bool:
        created = report.facts.created or 0.0
        return (
            (not self.states or runstate.word(report.state) in self.states)
            and (self.job is None or report.facts.job == self.job)
            and (self.since is None or created >= self.since)
        )


def status(ctx: Context, query: Query) -> int:
    """Without `on`: every host that has runs of ours. 0 whatever they do; 3 when RUN names none."""
    settings = settings_files.load(ctx)
    store, instances = Store(ctx.state_dir), InstanceStore(ctx.state_dir)
    listed = inventory.load(ctx.state_dir) if query.cached else _settle(ctx, instances, settings, query)
    on = runs.find_target(ctx, store, query.on, query.word) if query.word else query.on
    labels = list(groups.split(on)) if on else known_labels(store, instances, settings)
    if not labels and not listed.unrecorded and not ctx.json:
        ctx.talk("no EC2 instance is up, and no run is known; gpujob deploy JOB --on ec2")
    if query.cached:
        hosts = [_cached(store, label) for label in labels]
    else:
        hosts = _ask_all(ctx, store, instances, settings, labels, query)
    hosts = _as_one(hosts, is_named=bool(query.on))
    if query.word is not None:
        hosts = [_only(hosts, query.word, ctx.now())]
    reports = [_report(ctx, instances, host, query) for host in hosts]
    resources = [] if query.is_narrow else rows.resources(listed, ctx.now())
    if ctx.json:
        shown = tuple(view.run_json(run) for report in reports for run in report.reports)
        of_hosts = tuple(map(view.host_json, reports))
        ctx.answer(answers.Status(hosts=of_hosts, runs=shown, resources=tuple(resources)))
    else:
        view.print_status(ctx, reports, query.word is not None, resources)
    return 0


def _settle(ctx: Context, instances: InstanceStore, settings: dict[str, Setting], query: Query) -> Inventory:
    """Completes what was interrupted; returns what exists in EC2, which is searched at most once an hour.

    It is searched if it is the default target or was used from here. Without EC2 the rest of the status is
    still shown; the interrupted launch stays open.
    """
    stored, is_open = inventory.load(ctx.state_dir), bool(instances.attempts() or instances.changes())
    is_empty = not instances.all()
    is_used = settings["target"].value == "ec2" or not is_empty or bool(stored.resources)
    is_old = ctx.now() - stored.read >= inventory.FRESH_SECONDS
    if not is_open and (not is_used or not is_old or query.is_narrow):
        return stored
    from orchestrator.instances import launching, survey  # noqa: PLC0415 - 50 ms that are seldom needed
    from orchestrator.instances.cloud import Account  # noqa: PLC0415

    account = Account(ctx)
    try:
        launching.settle(account)
    except GpujobError as error:
        ctx.warn(f"EC2 could not be asked about an interrupted launch: {error.what}: {error.why}")
        return stored
    if query.is_narrow:
        return stored
    return survey.survey_or_stored(account, settings["region"].value, of_user=is_empty)


def known_labels(store: Store, instances: InstanceStore, settings: dict[str, Setting]) -> list[str]:
    """The default target, every host that has answered, every instance that has not ended or has runs."""
    with_runs = {label for run in store.runs().values() for label in groups.split(run.target)}
    known = instances.all()
    ended = {one.label for one in known if one.has_ended and not one.volume and one.label not in with_runs}
    up = [one.label for one in known if not one.has_ended or one.volume]
    own = settings["target"].value
    if own == "ec2" or (settings["target"].source == "default" and own not in with_runs and up):
        words = [*store.targets(), *up]
    else:
        words = [*groups.split(own), *store.targets(), *up]
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
    query: Query,
) -> list[HostReport]:
    """Each host's report; of one that does not answer, the cached one. A single host must answer or be known,
    and one that was named must have runs for that."""

    def answer(label: str) -> HostReport:
        try:
            if not _has_ended(instances, label):
                report = _ask(ctx, store, settings, label, query)
                if not _has_ended(instances, label):
                    return report
        except Exception:
            if not _has_ended(instances, label):  # as was learned just now
                raise
        return replace(_cached(store, label), unreachable="its instance has ended")

    outcomes, named = ask.in_parallel(ctx, store, labels, answer, query.wait), query.on is not None
    return [
        _from_cache(store, instances, label, outcome, len(labels), named)
        if isinstance(outcome := outcomes[label], Exception)
        else outcome
        for label in labels
    ]


def _ask(ctx: Context, store: Store, settings: dict[str, Setting], label: str, query: Query) -> HostReport:
    with registry.target(ctx, settings, label).connect() as host:
        snapshot = helper.snapshot(host, query.lines)
        all_facts = _in_full(host, snapshot.runs, query, ctx.now())
        runs.remember(ctx, store, host, all_facts, all_of_host=True)
        gpus = snapshot.machine.gpus
        starts = queue.expected_starts(all_facts, None if gpus is None else len(gpus), ctx.now())
        return HostReport(label, all_facts, snapshot.machine, starts=starts)


def _in_full(host: Host, all_facts: tuple[RunFacts, ...], query: Query, now: float) -> tuple[RunFacts, ...]:
    """All facts, with log and events of the run `query.word`: a host leaves them out of older runs."""
    if query.word is None:
        return all_facts
    try:
        chosen = runs.choose(all_facts, query.word, now)
    except GpujobError:  # another host may have it
        return all_facts
    full = helper.find_run(host, chosen.id, query.lines) if chosen.brief else None
    return tuple(full if full and run.id == chosen.id else run for run in all_facts)


def _from_cache(
    store: Store, instances: InstanceStore, label: str, error: Exception, hosts: int, named: bool
) -> HostReport:
    if not isinstance(error, GpujobError):
        raise error
    cached = _cached(store, label)
    known = bool(cached.runs) or (instances.find_label(label) is not None and not named)
    if hosts == 1 and not (known and error.exit_code == Exit.UNREACHABLE):
        raise error
    return replace(cached, unreachable=": ".join(filter(None, (error.what, error.why))))


def _cached(store: Store, label: str) -> HostReport:
    """The last facts of a host, and when it was asked."""
    facts = tuple(run.facts for run in store.runs().values() if label in groups.split(run.target))
    return HostReport(label, facts, read_at=store.targets().get(label))


def _only(hosts: list[HostReport], word: str, now: float) -> HostReport:
    """The host that has the run which `word` names, with that run alone; of several one where it is alive."""
    chosen = runs.choose(runs.in_order(run for host in hosts for run in host.runs), word, now)
    candidates = [(host, run) for host in hosts for run in host.runs if run.id == chosen.id]
    host, run = max(candidates, key=lambda pair: pair[1].has_processes)
    return replace(host, runs=(run,))


def _as_one(hosts: list[HostReport], is_named: bool) -> list[HostReport]:
    """A run over several hosts once: as rank 0 has it, or the next host that answers."""
    if is_named and len(hosts) == 1:
        return hosts
    best_hosts = runs.best_hosts(
        (n, run, host.unreachable is not None) for n, host in enumerate(hosts) for run in host.runs
    )
    merged = []
    for number, host in enumerate(hosts):
        own = tuple(run for run in host.runs if best_hosts.get(run.id, number) == number)
        others = {hosts[best_hosts[run.id]].target for run in host.runs if run not in own}
        merged.append(replace(host, runs=own, shown_with=tuple(sorted(others))))
    return merged


def _report(ctx: Context, instances: InstanceStore, host: HostReport, query: Query) -> HostReport:
    """With every run that is going and the last few of the others, and what is known of an instance."""
    instance = instances.find_label(host.target)
    row = rows.instance(instance, ctx.now()) if instance else None
    reports = []
    for facts in host.runs:
        state = runstate.fold(facts, ctx.now())
        if isinstance(state, runstate.Queued):
            state = replace(state, expected=host.starts.get(facts.id))
        if host.unreachable and isinstance(state, runstate.GOING):
            state = _unknown_state(instance, facts, host.unreachable)
        cost = prices.group_cost(instances, host.target, facts, ctx.now())
        reports.append(RunReport(facts, state, runs.target_of(facts, host.target), cost))
    chosen = reports if query.word else [report for report in reports if query.chooses(report)]
    ended = [report.facts.id for report in chosen if not report.is_going]
    older = set() if query.limit is None else set(ended[: max(0, len(ended) - query.limit)])
    shown = tuple(report for report in chosen if report.facts.id not in older)
    return replace(host, instance=row, reports=shown, older=len(older), others=len(reports) - len(chosen))


def _unknown_state(instance: Instance | None, facts: RunFacts, why: str) -> runstate.RunState:
    """Of a run that was going when its host last answered. What a spot instance left is on its volume."""
    is_stopped = instance is not None and instance.spot and instance.state == "stopped"
    if instance and instance.volume and (instance.ended is not None or is_stopped):
        heartbeat = facts.state.heartbeat if facts.state else None
        ended = instance.ended or heartbeat or instance.launched
        return runstate.Preempted(ended, facts.checkpoints.last, is_last_known=True)
    return runstate.Unreachable(why)
