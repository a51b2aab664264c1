"""`gpujob report`: signatures and help of what compares runs. Bodies are imported late."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.help import command
from orchestrator.cli.options import Json, OnHostOfRun, context

app = typer.Typer()
PANEL = "Results"
Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN...]",
        help="Runs, as for status, or folders that fetch wrote (default: the active run).",
    ),
]


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
