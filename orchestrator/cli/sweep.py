"""`gpujob sweep`: signature and help. The body is imported late."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.help import command
from orchestrator.cli.options import Data, Job, Json, Sets, context

app = typer.Typer()


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
    trials: Annotated[
        int, typer.Option(min=1, metavar="N", help="Run this many trials in all (default 20).")
    ] = 20,
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space",
            metavar="KEY=VALUES",
            help="Vary this key of the job file: LOW..HIGH, LOW..HIGH:log or A,B,C; repeatable (default: the "
            "job's sweep.space).",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT.NAME", help="Compare runs by this metric (default: the job's, or val.loss)."
        ),
    ] = None,
    goal: Annotated[
        str | None,
        typer.Option(metavar="GOAL", help="Look for the min or max of it (default: the job's, or min)."),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="TARGETS", help="Use these targets, with commas (default: the setting `target`)."
        ),
    ] = None,
    parallel: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Run N trials at once (default: one on each target)."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name the sweep and its folder in ./sweeps (default: JOB-sweep)."),
    ] = None,
    sets: Sets = None,
    data: Data = None,
    max_hours: Annotated[
        float | None,
        typer.Option(metavar="HOURS", help="Start no trial after this many hours (default: no limit)."),
    ] = None,
    no_prune: Annotated[
        bool, typer.Option("--no-prune", help="Let every trial run to its end, also those that fall behind.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the choice of values (default 0).")] = 0,
    share_gpu: Annotated[
        bool, typer.Option("--share-gpu", help="Start trials even if another process is using a GPU.")
    ] = False,
    json: Json = False,
) -> int:
    """Try a job with other values, chosen by Optuna; each trial is a run."""
    from orchestrator.commands import sweep as implementation

    request = implementation.Request(
        job,
        trials,
        tuple(word for word in (on or "").split(",") if word),
        name,
        tuple(sets or ()),
        tuple(data or ()),
        tuple(space or ()),
        metric,
        goal,
        parallel,
        max_hours,
        seed,
        not no_prune,
        share_gpu,
    )
    return implementation.sweep(context(ctx, json), request)
