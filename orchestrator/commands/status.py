"""`gpujob status [RUN]`: what runs, on what, and what ran last. Reads the hosts' files, never `ps`."""

from __future__ import annotations

import threading
from typing import Any

from orchestrator import registry
from orchestrator.commands import boxes, config, runs
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.settings import Setting
from orchestrator.errors import Exit, GpujobError
from orchestrator.store import Store
from orchestrator.view import status as view

SHOWN = 10
PATIENCE = 2.0  # seconds for each of several hosts, asked side by side
_HOST = ("target", "hostname", "gpus", "disk", "memory", "asked", "unreachable", "box")
Answer = dict[str, Any]


def status(ctx: Context, word: str | None, on: str | None, cached: bool, lines: int) -> int:
    """Without `on`: every host that has runs of ours. 0 whatever they do; 3 when RUN names none."""
    settings = config.load(ctx)
    store = Store(ctx.state_dir)
    if not cached:
        _settle(ctx, store)
    labels = [on] if on else _labels(store, settings)
    if not labels and not ctx.json:
        ctx.talk("no box of EC2 is up, and nothing ran on one; gpujob deploy JOB --on ec2")
    if cached:
        answers = [_cached(store, label) for label in labels]
    else:
        answers = _asked(ctx, store, settings, labels, lines, on is not None)
    for answer in answers:
        answer["box"] = boxes.telling(ctx, store, answer["target"])
    if word is not None:
        answers = [_only(answers, word, ctx.now())]
    for answer in answers:
        answer["described"] = _chosen([_described(ctx, seen, answer) for seen in answer["runs"]])
    if ctx.json:
        described = [run for answer in answers for run in answer["described"]]
        hosts = [{key: answer.get(key) for key in _HOST} for answer in answers]
        ctx.answer({"hosts": hosts, "runs": described})
    else:
        view.print_status(ctx, answers, detail=word is not None)
    return 0


def _settle(ctx: Context, store: Store) -> None:
    """Without EC2 the rest can still be told; a launch that was cut stays open."""
    try:
        boxes.settle(ctx, store)
    except GpujobError as error:
        ctx.warn(f"a launch that was cut could not be looked for: {error.what}: {error.why}")


def _labels(store: Store, settings: dict[str, Setting]) -> list[str]:
    """The settings' target, every host that has answered, every box that has not ended or has runs here."""
    known = {record["target"] for record in store.runs().values()}
    ended = {label for label in boxes.labels(store, living=False) if label not in known}
    own = settings["target"].value
    if settings["target"].source == "default" and own not in known and boxes.labels(store, living=True):
        own = "ec2"
    words = [*([own] if own != "ec2" else []), *store.targets(), *boxes.labels(store, living=True)]
    return [label for label in dict.fromkeys(words) if label not in ended]


def _asked(
    ctx: Context, store: Store, settings: dict[str, Setting], labels: list[str], lines: int, named: bool
) -> list[Answer]:
    """Each host's answer; of one that does not answer, what is cached. Alone, it must answer or be known,
    and one that was `named` must have runs for that."""
    found: dict[str, Answer] = {}
    errors: dict[str, GpujobError] = {}

    def ask(label: str) -> None:
        try:
            if not boxes.has_ended(store, label):
                found[label] = _ask(ctx, store, settings, label, lines)
        except GpujobError as error:
            errors[label] = error
        if boxes.has_ended(store, label):  # as was known, or as was found out just now
            found[label] = {**_cached(store, label), "unreachable": "its box has ended"}

    if len(labels) == 1:
        ask(labels[0])
    else:
        _side_by_side(ask, labels)
    return [
        found.get(label) or _from_cache(store, label, errors.get(label), len(labels), named)
        for label in labels
    ]


def _side_by_side(ask: Any, labels: list[str]) -> None:
    threads = [threading.Thread(target=ask, args=(label,), daemon=True) for label in labels]
    for thread in threads:
        thread.start()
    timer = threading.Event()
    for _ in range(int(PATIENCE / 0.02)):
        if not any(thread.is_alive() for thread in threads):
            return
        timer.wait(0.02)


def _ask(ctx: Context, store: Store, settings: dict[str, Setting], label: str, lines: int) -> Answer:
    with registry.target(ctx, settings, label).connect() as host:
        answer = runs.look_all(host, lines)
        runs.remember(ctx, store, host, answer["runs"], all_of_host=True)
        return {**answer, "target": label}


def _from_cache(store: Store, label: str, error: GpujobError | None, asked: int, named: bool) -> Answer:
    kept = _cached(store, label)
    known = kept["runs"] or (boxes.of(store, label) and not named)
    if error and asked == 1 and not (known and error.exit_code == Exit.UNREACHABLE):
        raise error
    why = f"{error.what}: {error.why}" if error else f"no answer within {PATIENCE:.0f} s"
    return {**kept, "unreachable": why}


def _cached(store: Store, label: str) -> Answer:
    """What was last known of a host, and when it was asked."""
    kept = [record["seen"] for record in store.runs().values() if record["target"] == label]
    return {"target": label, "runs": kept, "gpus": [], "asked": store.targets().get(label)}


def _only(answers: list[Answer], word: str, now: float) -> Answer:
    """The answer that holds the run which `word` means, and that run alone."""
    chosen = runs.choose(runs.in_order([seen for answer in answers for seen in answer["runs"]]), word, now)
    home = next(answer for answer in answers if chosen in answer["runs"])
    return {**home, "runs": [chosen]}


def _described(ctx: Context, seen: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """Of a host that does not answer, a run that was going may be anything by now."""
    state = runstate.fold(seen, ctx.now())
    if answer.get("unreachable") and isinstance(state, runstate.GOING):
        state = _unseen(answer, seen)
    cost = boxes.run_cost(ctx, Store(ctx.state_dir), answer["target"], seen)
    told = {**runstate.as_dict(state), **view.telling(seen), "cost_usd": cost}
    return {"id": seen["id"], "target": answer["target"], **told}


def _unseen(answer: Answer, seen: dict[str, Any]) -> runstate.RunState:
    """A run that was going when its host last answered. What a spot box left is on its volume."""
    box = answer.get("box")
    if box and box["volume"] and box["ended"]:
        return runstate.Preempted(box["ended"], (seen.get("checkpoints") or {}).get("last"))
    return runstate.Unreachable(answer["unreachable"])


def _chosen(described: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every run that is going, and the last few of the others."""
    ended = [run for run in described if run["state"] not in view.GOING]
    kept = {run["id"] for run in ended[-SHOWN:]}
    return [run for run in described if run["state"] in view.GOING or run["id"] in kept]
