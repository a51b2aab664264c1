"""What `gpujob sweep --json` prints."""

from __future__ import annotations

from typing import Any

from orchestrator.view.answer import Answer, Part


class Trial(Part, frozen=True, kw_only=True):
    """A trial. `state`: running, complete, pruned or failed. `value`: the best of the `reported` values of a
    complete one. `params`: the keys of the job file that it changed."""

    number: int
    run: str | None
    target: str | None
    state: str
    value: float | None
    reported: int
    params: dict[str, Any]


class Sweep(Answer, frozen=True, kw_only=True):
    """`best`: the number of the best complete trial. `importance`: of each key, shares of 1."""

    metric: str
    goal: str
    trials: tuple[Trial, ...]
    best: int | None
    importance: dict[str, float]
