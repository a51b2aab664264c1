"""`gpujob runs`: a table that compares runs, and stops or fetches those that it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from orchestrator import registry, settings_files
from orchestrator.commands import ask, collect, fetch, runs, status, stop
from orchestrator.context import Context
from orchestrator.core import groups, rundetails, runstate
from orchestrator.core.history import is_lower_better
from orchestrator.core.rundetails import RunDetails
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.text import cells, counted, duration
from orchestrator.core.values import iso
from orchestrator.errors import Exit, GpujobError, UsageError
from orchestrator.instances import prices
from orchestrator.instances.records import InstanceStore
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host
from orchestrator.view import compare_answers as answers
from orchestrator.view.console import print_table

_WAIT = 30.0  # seconds for each of several hosts
_MOST_COLUMNS = 4  # of metrics, and of configuration


class Query(msgspec.Struct, frozen=True):
    """`sort`: a metric such as val.loss. `action`: stop, fetch or none."""

    on: str | None = None
    job: str | None = None
    sort: str | None = None
    reverse: bool = False
    limit: int = 20
    action: str = ""


class Entry(msgspec.Struct, frozen=True):
    """A run, where it is, its latest metrics, and its configuration with nested keys as `a.b`."""

    facts: RunFacts
    target: str
    state: runstate.RunState
    details: RunDetails
    cost_usd: float | None

    @property
    def metrics(self) -> dict[str, float]:
        return collect.latest_metrics(self.facts.events)

    @property
    def config(self) -> dict[str, object]:
        return dict(rundetails.flat(self.details.config))


def compare(ctx: Context, query: Query) -> int:
    """0; 1 if one of the shown runs could not be stopped or fetched."""
    entries = _sorted(_as_one(list(_find(ctx, query))), query)
    done, failed = _act(ctx, entries, query.action) if query.action else ([], {})
    if ctx.json:
        shown = tuple(_as_json(entry) for entry in entries)
        faults = tuple(answers.RunFault(run=run, what=what) for run, what in failed.items())
        ctx.answer(answers.Runs(runs=shown, sorted_by=query.sort, done=tuple(done), failed=faults))
    elif not query.action:
        _print(ctx, entries, query)
    return Exit.FAILED if failed else Exit.DONE


def _find(ctx: Context, query: Query) -> Iterator[Entry]:
    """The latest runs of each host, all asked at once; of one that does not answer, what the cache has."""
    settings, store = settings_files.load(ctx), Store(ctx.state_dir)
    instances = InstanceStore(ctx.state_dir)
    labels = [query.on] if query.on else status.known_labels(store, instances, settings)

    def answer(label: str) -> list[Entry]:
        instance = instances.find_label(label)
        if instance and instance.has_ended and not query.on:
            return list(_cached(ctx, store, instances, label, query))
        with registry.target(ctx, settings, label).connect() as host:
            return list(_of_host(ctx, store, instances, host, query))

    outcomes = ask.in_parallel(ctx, store, labels, answer, None if query.on else _WAIT)
    for label in labels:
        outcome = outcomes[label]
        if not isinstance(outcome, Exception):
            yield from outcome
            continue
        if query.on or not isinstance(outcome, GpujobError):
            raise outcome
        ctx.warn(f"{label} does not answer ({outcome.what}); its runs are as they were last seen")
        yield from _cached(ctx, store, instances, label, query, outcome.what)


def _of_host(
    ctx: Context, store: Store, instances: InstanceStore, host: Host, query: Query
) -> Iterator[Entry]:
    every = helper.snapshot(host, 0).runs
    runs.remember(ctx, store, host, every, all_of_host=True)
    for brief in [run for run in every if query.job in (None, run.job)][-query.limit :]:
        run = (helper.find_run(host, brief.id, 0) or brief) if brief.brief else brief
        yield _entry(ctx, instances, host.label, run, collect.details(host, run))


def _cached(
    ctx: Context, store: Store, instances: InstanceStore, label: str, query: Query, why: str = "has ended"
) -> Iterator[Entry]:
    """Runs as their host last reported them; what has become of those that were going is not known."""
    for cached in store.runs().values():
        run = cached.facts
        if label in groups.split(cached.target) and query.job in (None, run.job):
            entry = _entry(ctx, instances, label, run, RunDetails(job=run.job))
            is_going = isinstance(entry.state, runstate.GOING)
            yield replace(entry, state=runstate.Unreachable(why)) if is_going else entry


def _entry(ctx: Context, instances: InstanceStore, label: str, run: RunFacts, details: RunDetails) -> Entry:
    cost = prices.group_cost(instances, label, run, ctx.now())
    target = runs.target_of(run, label)
    return Entry(run, target, runstate.fold(run, ctx.now()), details, cost)


def _as_one(entries: list[Entry]) -> list[Entry]:
    """With each run over several hosts once."""
    unknown = runstate.Unreachable
    hosts = runs.best_hosts((n, one.facts, isinstance(one.state, unknown)) for n, one in enumerate(entries))
    return [one for number, one in enumerate(entries) if hosts.get(one.facts.id, number) == number]


def _sorted(entries: list[Entry], query: Query) -> list[Entry]:
    """The latest at the end; by a metric the best first, and those without it at the end."""
    latest = sorted(entries, key=lambda entry: entry.facts.created or 0.0)[-query.limit :]
    name = query.sort
    if name is None:
        return latest[::-1] if query.reverse else latest
    known = sorted({metric for entry in latest for metric in entry.metrics})
    if latest and name not in known:
        why = f"there are: {', '.join(known)}" if known else "none of the runs recorded a metric"
        raise UsageError(
            f"--sort {name}: no run has this metric", why, f"gpujob runs --sort {(known or ['val.loss'])[0]}"
        )
    with_it = [entry for entry in latest if name in entry.metrics]
    descends = is_lower_better(name) == query.reverse
    with_it.sort(key=lambda entry: entry.metrics[name], reverse=descends)
    return with_it + [entry for entry in latest if name not in entry.metrics]


def _print(ctx: Context, entries: Sequence[Entry], query: Query) -> None:
    sort = query.sort
    if not entries:
        of_job = f" of a job {query.job}" if query.job else ""
        ctx.out(f"no run{of_job} is known; gpujob {'runs' if query.job else 'deploy JOB (starts one)'}")
        return
    metrics = list(dict.fromkeys([*([sort] if sort else []), *(m for e in entries for m in e.metrics)]))
    keys = list(dict.fromkeys(key for entry in entries for key in entry.config))
    different = [k for k in keys if len({str(entry.config.get(k)) for entry in entries}) > 1]
    columns = {
        "run": [entry.facts.id for entry in entries],
        "state": [runstate.word(entry.state) for entry in entries],
        "took": [duration(entry.facts.used_seconds(ctx.now())) for entry in entries],
    }
    for name in metrics[:_MOST_COLUMNS]:
        columns[name] = [f"{e.metrics[name]:.4g}" if name in e.metrics else "-" for e in entries]
    for key in different[:_MOST_COLUMNS]:
        columns[key] = [str(entry.config.get(key, "-")) for entry in entries]
    left_out = _leave_out(columns, ctx.columns(ctx.stdout))
    with_heads = ([name, *column] for name, column in columns.items())
    print_table(ctx, list(zip(*with_heads, strict=True)))
    if left_out:
        ctx.talk(f"left out, as the terminal is narrow: {', '.join(left_out)}; --json has all")


def _leave_out(columns: dict[str, list[str]], room: int | None) -> list[str]:
    """Removes the last columns until the others fit; the duration goes before the first metric."""

    def width() -> int:
        return sum(2 + max(map(cells, [name, *column])) for name, column in columns.items())

    names = list(columns)
    order = [*names[:2], *names[3:4], *names[2:3], *names[4:]]
    removed: list[str] = []
    while room is not None and width() > room and len(order) > 2:
        removed.insert(0, order.pop())
        del columns[removed[0]]
    return removed


def _act(ctx: Context, entries: Sequence[Entry], action: str) -> tuple[list[str], dict[str, str]]:
    """Stops those that are going, or fetches the best checkpoint of each, after one question."""
    chosen = [e for e in entries if action == "fetch" or isinstance(e.state, runstate.GOING)]
    if not chosen:
        which = f"none of the {len(entries)} runs" if entries[1:] else "no run"
        ctx.talk(f"nothing to {action}: {which} is active")
        return [], {}
    names = ", ".join(_named(ctx, entry) for entry in chosen)
    what = "fetch the best checkpoint of" if action == "fetch" else "stop, after a checkpoint,"
    ctx.confirm(f"{what} {counted(len(chosen), 'run')}: {names}")
    quiet = replace(ctx, json=False, yes=True, quiet=True, stdout=ctx.stderr)
    done, failed = [], {}
    for entry in chosen:
        try:
            _one(action)(quiet, entry)
            done.append(entry.facts.id)
            ctx.talk(f"{entry.facts.id}: {'fetched' if action == 'fetch' else 'stopped'}")
        except GpujobError as error:
            failed[entry.facts.id] = f"{error.what}: {error.why}" if error.why else error.what
            ctx.warn(f"{entry.facts.id}: {failed[entry.facts.id]}")
    return done, failed


def _named(ctx: Context, entry: Entry) -> str:
    who = entry.details.who
    return entry.facts.id + (f" (started by {who})" if who not in (None, ctx.who) else "")


def _one(action: str) -> Callable[[Context, Entry], int]:
    if action == "fetch":
        return lambda ctx, entry: fetch.fetch(ctx, entry.facts.id, entry.target, "best", None, False, True)
    return lambda ctx, entry: stop.stop(ctx, entry.facts.id, entry.target, False, False, False)


def _as_json(entry: Entry) -> answers.ComparedRun:
    return answers.ComparedRun(
        id=entry.facts.id,
        job=entry.facts.job,
        target=entry.target,
        state=runstate.word(entry.state),
        created=iso(entry.facts.created),
        used_seconds=entry.facts.used_seconds(entry.facts.ended or 0.0),
        metrics=dict(entry.metrics),
        config=entry.details.config,
        cost_usd=entry.cost_usd,
    )
