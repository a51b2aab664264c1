"""What --json prints of several runs: `runs`, `diff`, `report`, `export-metrics`, `tensorboard`, `sweep`."""

from __future__ import annotations

from typing import Any

from orchestrator.view.answer import Answer, Part, Time, Usd


class Report(Answer, frozen=True, kw_only=True):
    """Of `report`: the file that was written, and its size."""

    file: str
    runs: tuple[str, ...]
    bytes: int


class ExportedRun(Part, frozen=True, kw_only=True):
    """`path`: the CSV file, or the folder of TensorBoard's files; `values`: how many numbers are in it."""

    run: str
    path: str
    values: int


class Exported(Answer, frozen=True, kw_only=True):
    """Of `export-metrics` and `tensorboard`."""

    runs: tuple[ExportedRun, ...]


class Difference(Part, frozen=True, kw_only=True):
    """`group`: code, config, data, environment or metrics. Null: the run does not have it."""

    group: str
    what: str
    a: str | None
    b: str | None


class Diff(Answer, frozen=True, kw_only=True):
    """Of `diff`: the runs `a` and `b`, and how many facts are the `same` in both."""

    a: str
    b: str
    differences: tuple[Difference, ...]
    same: int


class ComparedRun(Part, frozen=True, kw_only=True):
    """A run of `runs`. `metrics`: the latest values, such as val.loss; `config`: as in the job file."""

    id: str
    job: str | None
    target: str
    state: str
    created: Time | None
    used_seconds: float
    metrics: dict[str, float | None]
    config: dict[str, Any]
    cost_usd: Usd | None


class RunFault(Part, frozen=True, kw_only=True):
    run: str
    what: str


class Runs(Answer, frozen=True, kw_only=True):
    """Of `runs`. `done`: those that were stopped or fetched; `failed`: those that could not be."""

    runs: tuple[ComparedRun, ...]
    sorted_by: str | None
    done: tuple[str, ...]
    failed: tuple[RunFault, ...]


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
