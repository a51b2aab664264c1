"""`gpujob sweep`: signature and help. The body is imported late."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.help import command
from orchestrator.cli.options import Data, Job, Json, Sets, context

app = typer.Typer()


Trials = Annotated[int, typer.Option(min=1, metavar="N", help="Run this many trials in all (default 20).")]
Space = Annotated[
    list[str] | None,
    typer.Option(
        "--space",
        metavar="KEY=VALUES",
        help="Vary this key of the job file: LOW..HIGH, LOW..HIGH:log or A,B,C; repeatable (default: the "
        "job's sweep.space).",
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(metavar="SPLIT.NAME", help="Compare runs by this metric (default: the job's, or val.loss)."),
]
Goal = Annotated[
    str | None,
    typer.Option(metavar="GOAL", help="Look for the min or max of it (default: the job's, or min)."),
]
Targets = Annotated[
    str | None,
    typer.Option(
        "--on", metavar="TARGETS", help="Use these targets, with commas (default: the setting `target`)."
    ),
]
Parallel = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Run N trials at once (default: one on each target)."),
]
Name = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name the sweep and its folder in ./sweeps (default: JOB-sweep)."),
]
Hours = Annotated[
    float | None,
    typer.Option(metavar="HOURS", help="Start no trial after this many hours (default: no limit)."),
]
NoPrune = Annotated[
    bool, typer.Option("--no-prune", help="Let every trial run to its end, also those that fall behind.")
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**31 - 1, metavar="N", help="Seed of the choice of values (default 0).")
]
ShareGpu = Annotated[
    bool, typer.Option("--share-gpu", help="Start trials even if another process is using a GPU.")
]


@command(
    app,
    "sweep",
    "sweep train.yaml --trials 20 --space config.lr=1e-4..1e-1:log --metric val.accuracy --goal max",
    "sweep blendshapes --data sample --trials 40 --on box1,box2 --parallel 4",
    rich_help_panel="Run",
)
def sweep(
    ctx: typer.Context,
    job: Job,
    trials: Trials = 20,
    space: Space = None,
    metric: Metric = None,
    goal: Goal = None,
    on: Targets = None,
    parallel: Parallel = None,
    name: Name = None,
    sets: Sets = None,
    data: Data = None,
    max_hours: Hours = None,
    no_prune: NoPrune = False,
    seed: Seed = 0,
    share_gpu: ShareGpu = False,
    json: Json = False,
) -> int:
    """Try a job with other values, chosen by Optuna; each trial is a run."""
    from orchestrator.commands import sweep as implementation

    request = implementation.Request(
        job,
        trials,
        on=on,
        name=name,
        sets=tuple(sets or ()),
        data=tuple(data or ()),
        space=tuple(space or ()),
        metric=metric,
        goal=goal,
        parallel=parallel,
        max_hours=max_hours,
        seed=seed,
        prune=not no_prune,
        share_gpu=share_gpu,
    )
    return implementation.sweep(context(ctx, json), request)
