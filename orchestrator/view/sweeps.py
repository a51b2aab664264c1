"""The table of a sweep: its trials, the best of them, and which values mattered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.context import Context
from orchestrator.core.space import Value
from orchestrator.core.text import counted
from orchestrator.view import compare_answers as answers
from orchestrator.view.console import print_table

if TYPE_CHECKING:
    import optuna

_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}


def number(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def result(study: optuna.Study, metric: str, goal: str, importance: Mapping[str, float]) -> answers.Sweep:
    """All trials that were started, and the number of the best that is complete."""
    trials = tuple(
        answers.Trial(
            number=trial.number,
            run=trial.user_attrs.get("run"),
            target=trial.user_attrs.get("host"),
            state=_STATES[trial.state.name],
            value=trial.value if trial.state.name == "COMPLETE" else None,
            reported=len(trial.intermediate_values),
            params=dict(trial.params),
        )
        for trial in study.get_trials(deepcopy=False)
        if trial.state.name in _STATES
    )
    return answers.Sweep(
        metric=metric, goal=goal, trials=trials, best=_best(trials, goal), importance=dict(importance)
    )


def _best(trials: Sequence[answers.Trial], goal: str) -> int | None:
    values = {trial.number: trial.value for trial in trials if trial.value is not None}
    if not values:
        return None
    return min(values, key=lambda one: values[one] if goal == "min" else -values[one])


def print_sweep(ctx: Context, content: answers.Sweep, folder: str) -> None:
    """The best trials first; then the command that fetches the best, and which keys mattered."""
    if ctx.json:
        ctx.answer(content)
        return
    keys = list(dict.fromkeys(key for trial in content.trials for key in trial.params))
    sign = 1 if content.goal == "min" else -1
    ordered = sorted(
        content.trials, key=lambda one: (one.value is None, sign * (one.value or 0.0), one.number)
    )
    names = [key.removeprefix("config.") for key in keys]
    table = [["trial", "state", content.metric, *names, "run"]]
    for trial in ordered:
        values = [number(trial.params[key]) if key in trial.params else "" for key in keys]
        value = "" if trial.value is None else f"{trial.value:.4g}"
        table.append([str(trial.number), trial.state, value, *values, trial.run or ""])
    print_table(ctx, table, {"complete": "green", "failed": "red"})
    counts = Counter(trial.state for trial in content.trials)
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    ctx.talk(f"{counted(len(content.trials), 'trial')}: {states}")
    if content.importance:
        shown = ", ".join(
            f"{key.removeprefix('config.')} {share:.0%}" for key, share in content.importance.items()
        )
        ctx.talk(f"importance for {content.metric}: {shown}")
    best = next((trial for trial in content.trials if trial.number == content.best), None)
    if best:
        ctx.talk(f"best: trial {best.number}; next: gpujob fetch {best.run}")
    ctx.talk(f"the record is in {folder}; the same command with more --trials continues")
