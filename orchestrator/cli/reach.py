"""`gpujob ssh | tunnel | cp`: signatures and help. Bodies are imported late."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.help import WithCommand, command
from orchestrator.cli.options import Json, OnHostOfRun, Run, context

app = typer.Typer()
PANEL = "Reach"


@command(
    app,
    "ssh",
    "ssh blendshapes -- nvidia-smi",
    "ssh blendshapes -L 6006",
    cls=WithCommand,
    rich_help_panel=PANEL,
)
def ssh(
    ctx: typer.Context,
    run: Run = None,
    on: OnHostOfRun = None,
    ports: Annotated[
        list[str] | None,
        typer.Option(
            "-L",
            metavar="PORT",
            help="Forward this port to the host meanwhile, or LOCAL:REMOTE; repeatable (default: none).",
        ),
    ] = None,
) -> int:
    """Open a shell in the folder of a run, or run a command there.

    The command after -- runs on the host with the variables of the run; its exit code is passed on.
    """
    from orchestrator.commands import login as implementation

    return implementation.login(context(ctx), run, on, ctx.meta.get(WithCommand.KEY, ()), ports or ())


@command(app, "tunnel", "tunnel 6006", "tunnel blendshapes 8080:6006 8888", rich_help_panel=PANEL)
def tunnel(
    ctx: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="PORT...",
            help="Ports of the host, each PORT or LOCAL:REMOTE; a run may come before them.",
        ),
    ],
    on: OnHostOfRun = None,
    json: Json = False,
) -> int:
    """Open ports of a run's host on this machine until Ctrl-C.

    Connections are made to 127.0.0.1 there. If the line is cut, gpujob connects again.
    """
    from orchestrator.commands import tunnel as implementation

    return implementation.tunnel(context(ctx, json), words, on)
