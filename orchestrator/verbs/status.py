"""`gpujob status [RUN]`: what runs, on what, and what ran last. Reads the host's files, never `ps`."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.errors import Unreachable
from orchestrator.store import Store
from orchestrator.targets import registry
from orchestrator.verbs import config, runs
from orchestrator.view import status as view

SHOWN = 10


def status(ctx: Context, word: str | None, on: str | None, cached: bool, lines: int) -> int:
    """0 whatever the runs are doing; 3 when RUN names none."""
    settings = config.load(ctx)
    store = Store(ctx.state_dir)
    label = on or settings["target"].value
    answer = _cached(store, label) if cached else _asked(ctx, store, settings, on, lines)
    every = answer["runs"]
    if word is not None:
        every = [runs.choose(every, word, ctx.now())]
    described = _chosen([_described(ctx, seen, answer.get("unreachable")) for seen in every])
    if ctx.json:
        host = {
            key: answer.get(key) for key in ("hostname", "gpus", "disk", "memory", "asked", "unreachable")
        }
        ctx.out(json.dumps({"schema_version": 1, "target": label, "host": host, "runs": described}))
    else:
        view.print_status(ctx, label, answer, described, detail=word is not None)
    return 0


def _asked(
    ctx: Context, store: Store, settings: dict[str, Any], on: str | None, lines: int
) -> dict[str, Any]:
    try:
        with registry.target(ctx, settings, on).connect() as host:
            answer = runs.look_all(host, lines)
            runs.remember(ctx, store, host, answer["runs"], all_of_host=True)
            return answer
    except Unreachable as error:
        kept = _cached(store, on or settings["target"].value)
        if not kept["runs"]:
            raise
        return {**kept, "unreachable": f"{error.what}: {error.why}"}


def _cached(store: Store, label: str) -> dict[str, Any]:
    """What was last known, with the time of the oldest answer in it."""
    records = [record for record in store.runs().values() if record["target"] == label]
    asked = min((record["asked"] for record in records[-SHOWN:]), default=None)
    return {"runs": [record["seen"] for record in records], "gpus": [], "asked": asked}


def _described(ctx: Context, seen: dict[str, Any], unreachable: str | None) -> dict[str, Any]:
    """Of a host that does not answer, a run that was going may be anything by now."""
    state = runstate.fold(seen, ctx.now())
    if unreachable and isinstance(state, runstate.GOING):
        state = runstate.Unreachable(unreachable)
    return {"id": seen["id"], **runstate.as_dict(state), **view.telling(seen)}


def _chosen(described: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every run that is going, and the last few of the others."""
    ended = [run for run in described if run["state"] not in view.GOING]
    kept = {run["id"] for run in ended[-SHOWN:]}
    return [run for run in described if run["state"] in view.GOING or run["id"] in kept]
