"""`gpujob runs | diff | report | export-metrics | tensorboard`: signatures and help. Late imports."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.help import command
from orchestrator.cli.options import Json, OnHostOfRun, OnKnownHosts, Yes, context
from orchestrator.errors import UsageError

app = typer.Typer()
PANEL = "Results"
Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN...]",
        help="Runs, as for status, or folders that fetch wrote (default: the active run).",
    ),
]


OneRun = Annotated[
    str, typer.Argument(metavar="RUN", help="A run, as for status, or a folder that fetch wrote.")
]
OtherRun = Annotated[str, typer.Argument(metavar="RUN2", help="The run to compare it with.")]


@command(
    app,
    "runs",
    "runs --sort val.loss",
    "runs --job blendshapes --sort val.macro_f1 --fetch",
    rich_help_panel=PANEL,
)
def runs(
    ctx: typer.Context,
    on: OnKnownHosts = None,
    job: Annotated[
        str | None, typer.Option(metavar="JOB", help="Compare runs of this job (default: of all).")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC", help="Sort by a metric such as val.loss, best first (default: by time)."
        ),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Reverse the order.")] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=500, metavar="N", help="Compare the latest N runs (default 20).")
    ] = 20,
    stop: Annotated[bool, typer.Option("--stop", help="Stop those that are active, after a prompt.")] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch the best checkpoint of each, after a prompt.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Compare runs in a table; stop or fetch all that it shows."""
    from orchestrator.commands import compare as implementation

    if stop and fetch:
        raise UsageError("--stop and --fetch exclude each other", "", "gpujob runs --stop")
    action = "stop" if stop else "fetch" if fetch else ""
    query = implementation.Query(on, job, sort, reverse, limit, action)
    return implementation.compare(context(ctx, json, yes), query)


@command(app, "diff", "diff RUN RUN2", "diff fetched/RUN RUN2 --json", rich_help_panel=PANEL)
def diff(ctx: typer.Context, run: OneRun, other: OtherRun, on: OnHostOfRun = None, json: Json = False) -> int:
    """Show what differs between two runs: code, data, configuration."""
    from orchestrator.commands import diff as implementation

    return implementation.diff(context(ctx, json), run, other, on)


@command(
    app,
    "export-metrics",
    "export-metrics RUN --to csv",
    "export-metrics RUN --to tensorboard --out logs/RUN",
    rich_help_panel=PANEL,
)
def export_metrics(
    ctx: typer.Context,
    run: OneRun,
    to: Annotated[
        str, typer.Option(metavar="FORMAT", help="Write csv or tensorboard (default csv).")
    ] = "csv",
    on: OnHostOfRun = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Write this file or folder (default ./RUN.csv or ./tensorboard/RUN)."
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Write a run's metrics as CSV or as TensorBoard's event files."""
    from orchestrator.commands import export as implementation

    if to not in ("csv", "tensorboard"):
        raise UsageError(f"--to {to}: csv or tensorboard", "", f"gpujob export-metrics {run} --to csv")
    return implementation.export(context(ctx, json), run, on, to, out)


@command(app, "tensorboard", "tensorboard", "tensorboard RUN RUN2 --port 6007", rich_help_panel=PANEL)
def tensorboard(
    ctx: typer.Context,
    runs: Runs = None,
    on: OnHostOfRun = None,
    to: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write below this folder (default ./tensorboard).")
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, metavar="PORT", help="Serve at this port (default 6006).")
    ] = 6006,
    json: Json = False,
) -> int:
    """Write the metrics of runs as event files and open TensorBoard."""
    from orchestrator.commands import export as implementation

    return implementation.tensorboard(context(ctx, json), runs or [], on, to, port)


@command(
    app,
    "report",
    "report blendshapes",
    "report fetched/RUN RUN2 --to comparison.html",
    rich_help_panel=PANEL,
)
def report(
    ctx: typer.Context,
    runs: Runs = None,
    on: OnHostOfRun = None,
    to: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write to this file (default ./report-RUN.html).")
    ] = None,
    json: Json = False,
) -> int:
    """Write one HTML file: curves, results, cost, provenance of runs."""
    from orchestrator.commands import report as implementation

    return implementation.report(context(ctx, json), runs or [], on, to)
