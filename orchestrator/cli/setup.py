"""`gpujob init | prepare | doctor | config`: signatures and help. Bodies are imported late."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.help import Group, command
from orchestrator.cli.options import Json, On, Trainer, Yes, context

PANEL = "Setup"
app = typer.Typer()
config = typer.Typer(
    cls=Group,
    help="Show the settings and where each value comes from.",
    epilog="config show\nconfig show --json",
    no_args_is_help=True,
)


@command(app, "init", "init train.py", "init 'train.py --lr 0.1'", rich_help_panel=PANEL)
def init(
    ctx: typer.Context,
    script: Annotated[
        str | None,
        typer.Argument(
            metavar="[SCRIPT]",
            help="Script that trains, or a command in quotes (default: ask; without a terminal train.py).",
        ),
    ] = None,
) -> int:
    """Write a commented job file for your own script.

    Without SCRIPT, it asks on a terminal for the script, its data and a time limit.
    """
    from orchestrator.commands import init as implementation

    return implementation.init(context(ctx), script)


@command(
    app,
    "prepare",
    "prepare blendshapes --sample sample",
    "prepare slowfast --ravdess DIR --crema DIR --to splits",
    rich_help_panel=PANEL,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def prepare(
    ctx: typer.Context,
    trainer: Trainer,
    sample: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write sample data to this folder (default: none).")
    ] = None,
    json: Json = False,
) -> int:
    """Create a trainer's sample data, or convert its source data.

    Other options are passed to the trainer: --NAME PATH names a source (also --from NAME=PATH), --to DIR the
    output; --augment N adds changed copies of pictures until each class has N faces (blendshapes).
    """
    from orchestrator.commands import trainer as implementation

    words = [*(["--sample", sample] if sample else []), *ctx.args]
    return implementation.prepare(context(ctx, json), trainer, words)


@command(app, "doctor", "doctor", "doctor --on ec2 --launch", rich_help_panel=PANEL)
def doctor(
    ctx: typer.Context,
    job: Annotated[
        str | None,
        typer.Argument(metavar="[JOB]", help="Check the instance type that this job asks for (EC2 only)."),
    ] = None,
    on: On = None,
    launch: Annotated[
        bool,
        typer.Option(
            "--launch", help="Launch a small EC2 instance for some minutes and check it; asks first."
        ),
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Check that a target has what a deploy needs."""
    from orchestrator.commands import doctor as implementation

    return implementation.doctor(context(ctx, json, yes), on, job, launch)


@command(app, "notify", "notify", "notify train.yaml --on gpubox", rich_help_panel=PANEL)
def notify(
    ctx: typer.Context,
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="[JOB]",
            help="Use `notify` of this job (default: the setting `notify`).",
        ),
    ] = None,
    on: On = None,
    json: Json = False,
) -> int:
    """Send a test alert from a host, as the runs of a job do."""
    from orchestrator.commands import notify as implementation

    return implementation.notify(context(ctx, json), job, on)


app.add_typer(config, name="config", rich_help_panel=PANEL)


@command(config, "show", "config show", "config show --json")
def config_show(ctx: typer.Context, json: Json = False) -> int:
    """Print every setting, its value and where it was set."""
    from orchestrator.commands import config as implementation

    return implementation.show(context(ctx, json))
