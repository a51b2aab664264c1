"""`gpujob fetch | verify | evaluate | predict | export`: signatures and help. Bodies are imported late."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.help import command
from orchestrator.cli.options import Checkpoint, DataOfCheckpoint, Files, Json, OnHostOfRun, Run, Yes, context
from orchestrator.errors import UsageError

app = typer.Typer()
PANEL = "Results"


@command(
    app,
    "fetch",
    "fetch blendshapes --which all --to results",
    "fetch RUN --from s3",
    rich_help_panel=PANEL,
)
def fetch(
    ctx: typer.Context,
    run: Run = None,
    on: OnHostOfRun = None,
    which: Annotated[
        str,
        typer.Option(
            metavar="WHICH",
            help="Fetch the best or last checkpoint, or all and every other file of the run (default best).",
        ),
    ] = "best",
    to: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write to this folder (default ./fetched/RUN).")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Fetch each new checkpoint until the run ends.")
    ] = False,
    keep_instance: Annotated[
        bool, typer.Option("--keep-instance", help="Keep the instance that was launched for this run.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="S3",
            help="Fetch the copy that `outputs` made: s3, or s3://BUCKET/PREFIX/RUN (default the host).",
        ),
    ] = None,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Download checkpoints, log and outputs; verify every SHA-256."""
    from orchestrator.commands import fetch as implementation

    if which not in ("best", "last", "all"):
        raise UsageError(f"--which {which}: best, last or all", "", "gpujob fetch --which best")
    return implementation.fetch(context(ctx, json, yes), run, on, which, to, follow, keep_instance, source)


@command(app, "verify", "verify fetched/RUN", "verify fetched/RUN/checkpoints/best", rich_help_panel=PANEL)
def verify(ctx: typer.Context, path: Checkpoint, json: Json = False) -> int:
    """Verify every SHA-256 of a checkpoint or of a fetched run."""
    from orchestrator.commands import verify as implementation

    return implementation.verify(context(ctx, json), path)


@command(
    app,
    "evaluate",
    "evaluate fetched/RUN --data sample",
    "evaluate fetched/RUN --data sample --split val --plots figures",
    rich_help_panel=PANEL,
)
def evaluate(
    ctx: typer.Context,
    checkpoint: Checkpoint,
    data: DataOfCheckpoint = None,
    split: Annotated[
        str, typer.Option(metavar="SPLIT", help="Use train, val, test or all samples (default test).")
    ] = "test",
    plots: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Write figures (SVG) to this folder; needs Matplotlib (default none)."
        ),
    ] = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Show the pictures of wrong answers, from the folder given to `prepare --images`, among the "
            "figures of blendshapes (default none).",
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Compute a checkpoint's metrics and confusion matrix on data."""
    from orchestrator.commands import trainer as implementation

    if split not in ("train", "val", "test", "all"):
        next_step = f"gpujob evaluate {checkpoint} --split test"
        raise UsageError(f"--split {split}: train, val, test or all", "", next_step)
    return implementation.evaluate(context(ctx, json), checkpoint, data or [], split, plots, pictures)


@command(
    app,
    "predict",
    "predict fetched/RUN clip.mp4",
    "predict fetched/RUN sample/*.npz --json",
    rich_help_panel=PANEL,
)
def predict(ctx: typer.Context, checkpoint: Checkpoint, files: Files, json: Json = False) -> int:
    """Apply a checkpoint to new files."""
    from orchestrator.commands import trainer as implementation

    return implementation.predict(context(ctx, json), checkpoint, files)


@command(app, "export", "export fetched/RUN", "export fetched/RUN --to model.pt2", rich_help_panel=PANEL)
def export(
    ctx: typer.Context,
    checkpoint: Checkpoint,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Write to this folder or .pt2 file (default ./exported/TRAINER-STEP)."
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Export a checkpoint as a torch.export program for raw input."""
    from orchestrator.commands import trainer as implementation

    return implementation.export(context(ctx, json), checkpoint, to)
