"""RUN → one run: from its host, or from the cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.context import Context
from orchestrator.core import groups, runstate
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.text import counted
from orchestrator.errors import NotFound, UsageError
from orchestrator.store import CachedRun, Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host


def in_order(runs: Iterable[RunFacts]) -> list[RunFacts]:
    """Oldest first, also where they come from several hosts."""
    return sorted(runs, key=lambda run: run.created or 0.0)


def find_host(ctx: Context, store: Store, on: str | None, word: str | None, rank: int | None) -> str | None:
    """As `find_target`; of a run over several hosts that with the rank, None for any."""
    target = find_target(ctx, store, on, word)
    hosts = groups.split(target or "")
    if rank is None:
        return target
    if not target or rank >= len(hosts):
        why = f"it is on {counted(len(hosts), 'host')}, the first of which is rank 0"
        raise UsageError(f"--rank {rank}: the run has no such host", why, "gpujob status")
    return hosts[rank]


def find_target(ctx: Context, store: Store, on: str | None, word: str | None) -> str | None:
    """The target to ask for a run: `on`, else the one in the cache; None: the settings'.

    Without a word that is where the only run is going, else where the latest one was.
    """
    if on is not None:
        return on
    cached = store.runs()
    runs = [record.facts for record in cached.values()]
    if word is None and runs:
        going = [run for run in runs if runstate.is_going(run, ctx.now())]
        if len(going) > 1:
            return None
        word = (going or runs)[-1].id
    if word is None:
        return None
    try:
        return cached[choose(runs, word, ctx.now()).id].target
    except (NotFound, UsageError):
        return None


def get(ctx: Context, host: Host, store: Store, word: str | None) -> RunFacts:
    """The run that `word` names on the host; without it the one that is going, else the latest. NotFound."""
    every = helper.snapshot(host).runs
    remember(ctx, store, host, every, all_of_host=True)
    chosen = choose(every, word, ctx.now())
    return (helper.find_run(host, chosen.id) or chosen) if chosen.brief else chosen


def choose(every: Sequence[RunFacts], word: str | None, now: float) -> RunFacts:
    """Among runs, oldest first. NotFound and UsageError name those that there are."""
    if not every:
        what = "there is no run here" if word is None else f"no run {word!r}"
        raise NotFound(what, "nothing was ever deployed to this target", "gpujob deploy JOB")
    if word is None:
        return _only(every, now)
    exact = [run for run in every if run.id == word]
    of_job = [run for run in every if run.job == word]
    if exact or of_job:
        return (exact or of_job)[-1]
    prefixed = [run for run in every if word and run.id.startswith(word)]
    if len(prefixed) == 1:
        return prefixed[0]
    ids = ", ".join(run.id for run in (prefixed or every)[-5:])
    if prefixed:
        raise UsageError(
            f"{word!r} is ambiguous: it matches {len(prefixed)} runs", ids, "type more of the id"
        )
    raise NotFound(f"no run {word!r}", f"the latest here: {ids}", "gpujob status")


def _only(every: Sequence[RunFacts], now: float) -> RunFacts:
    going = [run for run in every if runstate.is_going(run, now)]
    if len(going) > 1:
        ids = ", ".join(run.id for run in going)
        raise UsageError(f"{len(going)} runs are going", ids, "name one of them")
    return going[0] if going else every[-1]


def remember(
    ctx: Context, store: Store, host: Host, runs: Iterable[RunFacts], all_of_host: bool = False
) -> None:
    """The cache that `status --cached` and completion read. A run that has not changed is not written.

    `all_of_host`: `runs` are all of that host, so any other that the cache has for it is removed.
    """
    label, current = host.label, {run.id: run for run in runs}
    with store.updating:
        cached = store.runs()
        store.save_target(label, ctx.now())
        if all_of_host:
            for run_id in cached.keys() - current.keys():
                if groups.split(cached[run_id].target)[0] == label:
                    store.forget_run(run_id)
        for run in current.values():
            before = cached.get(run.id)
            if before and (_rank(run) > _rank(before.facts) or _is_copy(ctx, label, run, before)):
                continue  # what rank 0 says counts, and what the host says on which it is alive
            is_known = before and (before.facts.state, before.facts.queue) == (run.state, run.queue)
            if not (is_known and run.ended is not None):
                target = target_of(run, label)
                if before and run.group and label not in run.group.hosts:
                    target = before.target  # a replaced instance, before the run is told
                store.save_run(CachedRun(target, ctx.now(), run))


def target_of(run: RunFacts, label: str) -> str:
    """All hosts of a run over several, if this client knows them by these names; else the host's `label`."""
    return groups.join(run.group.hosts) if run.group and label in run.group.hosts else label


def best_hosts(runs: Iterable[tuple[int, RunFacts, bool]]) -> dict[str, int]:
    """Where each run over several hosts is shown, once: as rank 0 has it, or the next host that answers.

    `runs`: the number of a host, a run on it, whether that is only in the cache. The answer: number by run.
    """
    best: dict[str, tuple[bool, int, int]] = {}
    for number, run, is_cached in runs:
        if run.group:
            candidate = (is_cached, run.group.rank, number)
            best[run.id] = min(best.get(run.id, candidate), candidate)
    return {run_id: number for run_id, (_, _, number) in best.items()}


def _is_copy(ctx: Context, label: str, run: RunFacts, before: CachedRun) -> bool:
    """Whether the run was alive on another host, which is still up, and is not on this one: they share the
    folder, or one was copied from the other."""
    if run.group or run.has_processes or not before.facts.has_processes or label == before.target:
        return False
    from orchestrator.instances.records import InstanceStore  # noqa: PLC0415 - other targets load nothing of EC2

    instance = InstanceStore(ctx.state_dir).find_label(before.target)
    return instance is None or not instance.has_ended


def _rank(run: RunFacts) -> int:
    return run.group.rank if run.group else 0
