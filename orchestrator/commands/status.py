"""`gpujob status [RUN]`: what runs, on what, and what ran last. Reads the hosts' files, never `ps`."""

from __future__ import annotations

import threading
from typing import Any

from orchestrator import registry
from orchestrator.commands import config, rows, runs
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.settings import Setting
from orchestrator.errors import Exit, GpujobError
from orchestrator.instances import prices
from orchestrator.instances.cloud import Account
from orchestrator.store import Store
from orchestrator.view import status as view

SHOWN = 10
PATIENCE = 2.0  # seconds for each of several hosts, asked side by side
_HOST = ("target", "hostname", "gpus", "disk", "memory", "asked", "unreachable", "box")
Answer = dict[str, Any]


def status(ctx: Context, word: str | None, on: str | None, cached: bool, lines: int) -> int:
    """Without `on`: every host that has runs of ours. 0 whatever they do; 3 when RUN names none."""
    settings = config.load(ctx)
    store, account = Store(ctx.state_dir), Account(ctx)
    if not cached:
        _settle(ctx, account)
    labels = [on] if on else _labels(store, account, settings)
    if not labels and not ctx.json:
        ctx.talk("no EC2 instance is up, and nothing ran on one; gpujob deploy JOB --on ec2")
    if cached:
        answers = [_cached(store, label) for label in labels]
    else:
        answers = _asked(ctx, store, account, settings, labels, lines, on is not None)
    for answer in answers:
        instance = account.records.find_label(answer["target"])
        answer["box"] = rows.instance(instance, ctx.now()).as_dict() if instance else None
    if word is not None:
        answers = [_only(answers, word, ctx.now())]
    for answer in answers:
        answer["described"] = _chosen([_described(ctx, account, seen, answer) for seen in answer["runs"]])
    if ctx.json:
        described = [run for answer in answers for run in answer["described"]]
        hosts = [{key: answer.get(key) for key in _HOST} for answer in answers]
        ctx.answer({"hosts": hosts, "runs": described})
    else:
        view.print_status(ctx, answers, detail=word is not None)
    return 0


def _settle(ctx: Context, account: Account) -> None:
    """Without EC2 the rest of the status is still shown; the interrupted launch stays open."""
    if not account.records.attempts():
        return
    from orchestrator.instances import ensure  # noqa: PLC0415 - 50 ms that are seldom needed

    try:
        ensure.settle(account)
    except GpujobError as error:
        ctx.warn(f"EC2 could not be asked about an interrupted launch: {error.what}: {error.why}")


def _labels(store: Store, account: Account, settings: dict[str, Setting]) -> list[str]:
    """The default target, every host that has answered, every instance that has not ended or has runs."""
    known = {record["target"] for record in store.runs().values()}
    instances = account.records.all()
    ended = {one.label for one in instances if one.has_ended and one.label not in known}
    up = [one.label for one in instances if not one.has_ended]
    own = settings["target"].value
    if own == "ec2" or (settings["target"].source == "default" and own not in known and up):
        words = [*store.targets(), *up]
    else:
        words = [own, *store.targets(), *up]
    return [label for label in dict.fromkeys(words) if label not in ended]


def _has_ended(account: Account, label: str) -> bool:
    instance = account.records.find_label(label)
    return instance is not None and instance.has_ended


def _asked(
    ctx: Context,
    store: Store,
    account: Account,
    settings: dict[str, Setting],
    labels: list[str],
    lines: int,
    named: bool,
) -> list[Answer]:
    """Each host's answer; of one that does not answer, what is cached. Alone, it must answer or be known,
    and one that was `named` must have runs for that."""
    found: dict[str, Answer] = {}
    errors: dict[str, GpujobError] = {}

    def ask(label: str) -> None:
        try:
            if not _has_ended(account, label):
                found[label] = _ask(ctx, store, settings, label, lines)
        except GpujobError as error:
            errors[label] = error
        if _has_ended(account, label):  # as was known, or as was found out just now
            found[label] = {**_cached(store, label), "unreachable": "its instance has ended"}

    if len(labels) == 1:
        ask(labels[0])
    else:
        _side_by_side(ask, labels)
    return [
        found.get(label) or _from_cache(store, account, label, errors.get(label), len(labels), named)
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


def _from_cache(
    store: Store, account: Account, label: str, error: GpujobError | None, asked: int, named: bool
) -> Answer:
    kept = _cached(store, label)
    known = kept["runs"] or (account.records.find_label(label) and not named)
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


def _described(ctx: Context, account: Account, seen: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """Of a host that does not answer, a run that was going may be anything by now."""
    state = runstate.fold(seen, ctx.now())
    if answer.get("unreachable") and isinstance(state, runstate.GOING):
        state = _unseen(answer, seen)
    instance = account.records.find_label(answer["target"])
    cost = round(prices.run_cost(instance, seen, ctx.now()), 4) if instance else None
    told = {**runstate.as_dict(state), **view.telling(seen), "cost_usd": cost}
    return {"id": seen["id"], "target": answer["target"], **told}


def _unseen(answer: Answer, seen: dict[str, Any]) -> runstate.RunState:
    """A run that was going when its host last answered. What a spot instance left is on its volume."""
    box = answer.get("box")
    if box and box["volume"] and box["ended"]:
        return runstate.Preempted(box["ended"], (seen.get("checkpoints") or {}).get("last"))
    return runstate.Unreachable(answer["unreachable"])


def _chosen(described: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every run that is going, and the last few of the others."""
    ended = [run for run in described if run["state"] not in view.GOING]
    kept = {run["id"] for run in ended[-SHOWN:]}
    return [run for run in described if run["state"] in view.GOING or run["id"] in kept]
