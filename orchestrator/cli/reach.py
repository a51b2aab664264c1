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
            help="Forward this port, or LOCAL:REMOTE, while the command runs; repeatable (default: none).",
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

    Connections are made to 127.0.0.1 there. If the SSH connection is lost, gpujob connects again.
    """
    from orchestrator.commands import tunnel as implementation

    return implementation.tunnel(context(ctx, json), words, on)


@command(app, "cp", "cp blendshapes:log .", "cp fixed.py blendshapes:work/ --force", rich_help_panel=PANEL)
def cp(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="File or folder here, or RUN:PATH.")],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="The other of the two; PATH is in the folder of the run.")
    ],
    on: OnHostOfRun = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files; in a run, the old ones are kept as NAME~.")
    ] = False,
    json: Json = False,
) -> int:
    """Copy files from or to the folder of a run; verify every SHA-256."""
    from orchestrator.commands import copy as implementation

    return implementation.copy(context(ctx, json), source, target, on, force)
