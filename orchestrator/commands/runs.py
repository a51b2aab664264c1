"""RUN → the facts of one run: asked of its host, or from the cache with its age."""

from __future__ import annotations

from typing import Any

from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.errors import NotFound, UsageError
from orchestrator.store import Store
from orchestrator.targets.base import Host

Seen = dict[str, Any]


def look_all(host: Host, lines: int = 5) -> Seen:
    """Every run of a host, with its GPUs, disk and memory; one question."""
    return host.ask("status", lines=lines)


def look(host: Host, run_id: str, lines: int = 5) -> Seen | None:
    """One run by its full id; None where the host has no such run."""
    found = host.ask("status", runs=[run_id], lines=lines)["runs"]
    return found[0] if found else None


def in_order(every: list[Seen]) -> list[Seen]:
    """Oldest first, also where they come from several hosts."""
    return sorted(every, key=lambda seen: (seen.get("run") or {}).get("created") or 0.0)


def where(ctx: Context, store: Store, on: str | None, word: str | None) -> str | None:
    """The target to ask for a run: what was typed, else where the cache knows it; None: the settings'.

    Without a word that is where the only run is going, else where the latest one was.
    """
    if on is not None:
        return on
    records = store.runs()
    seen = [record["seen"] for record in records.values()]
    if word is None and seen:
        going = [one for one in seen if isinstance(runstate.fold(one, ctx.now()), runstate.GOING)]
        if len(going) > 1:
            return None
        word = (going or seen)[-1]["id"]
    if word is None:
        return None
    try:
        target: str = records[choose(seen, word, ctx.now())["id"]]["target"]
    except (NotFound, UsageError):
        return None
    return target


def find(ctx: Context, host: Host, store: Store, word: str | None) -> Seen:
    """The run that a user means. Without a word: the one that is going, else the latest."""
    every = look_all(host)["runs"]
    remember(ctx, store, host, every, all_of_host=True)
    chosen = choose(every, word, ctx.now())
    return (look(host, chosen["id"]) or chosen) if chosen.get("brief") else chosen


def choose(every: list[Seen], word: str | None, now: float) -> Seen:
    """Among the runs of a host, oldest first. NotFound and UsageError name what there is."""
    if not every:
        raise NotFound(
            "there is no run here", "nothing was ever deployed to this target", "gpujob deploy JOB"
        )
    if word is None:
        return _only(every, now)
    exact = [seen for seen in every if seen["id"] == word]
    of_job = [seen for seen in every if (seen["run"] or {}).get("job") == word]
    if exact or of_job:
        return (exact or of_job)[-1]
    prefixed = [seen for seen in every if seen["id"].startswith(word)]
    if len(prefixed) == 1:
        return prefixed[0]
    ids = ", ".join(seen["id"] for seen in (prefixed or every)[-5:])
    if prefixed:
        raise UsageError(f"{word!r} fits {len(prefixed)} runs", ids, "type more of the name")
    raise NotFound(f"no run {word!r}", f"the latest here: {ids}", "gpujob status")


def _only(every: list[Seen], now: float) -> Seen:
    going = [seen for seen in every if isinstance(runstate.fold(seen, now), runstate.GOING)]
    if len(going) > 1:
        ids = ", ".join(seen["id"] for seen in going)
        raise UsageError(f"{len(going)} runs are going", ids, "name one of them")
    return going[0] if going else every[-1]


def remember(ctx: Context, store: Store, host: Host, every: list[Seen], all_of_host: bool = False) -> None:
    """The cache that `status --cached` and completion read. Runs that changed nothing are not written.

    `all_of_host`: what the cache knows of this host besides is gone there, and forgotten here.
    """
    known = store.runs()
    store.saw_target(host.label, ctx.now())
    if all_of_host:
        for run_id in known.keys() - {seen["id"] for seen in every}:
            if known[run_id]["target"] == host.label:
                store.forget_run(run_id)
    for seen in every:
        before = known.get(seen["id"])
        ended = (seen.get("state") or {}).get("ended")
        if before and ended and before["seen"].get("state") == seen["state"]:
            continue
        created = (seen.get("run") or {}).get("created")
        record = {"target": host.label, "asked": ctx.now(), "created": created, "seen": seen}
        store.remember_run(seen["id"], record)
