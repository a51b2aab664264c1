"""Arguments that several commands share, and what the shell's completion offers for them."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.context import Context


def runs_like(ctx: typer.Context, incomplete: str) -> list[str]:
    from orchestrator.cli.completion import runs  # noqa: PLC0415

    return runs(incomplete)


def jobs_like(ctx: typer.Context, incomplete: str) -> list[str]:
    from orchestrator.cli.completion import jobs  # noqa: PLC0415

    return jobs(incomplete)


def trainers_like(ctx: typer.Context, incomplete: str) -> list[str]:
    from orchestrator.cli.completion import trainers  # noqa: PLC0415

    return trainers(incomplete)


_RUN_HELP = "A run, a job's name (its latest run) or a unique prefix; left out: the one that is going."
Job = Annotated[
    str, typer.Argument(metavar="JOB", help="A job file, or the name of one.", autocompletion=jobs_like)
]
Run = Annotated[str | None, typer.Argument(metavar="[RUN]", help=_RUN_HELP, autocompletion=runs_like)]
Checkpoint = Annotated[str, typer.Argument(metavar="PATH", help="A checkpoint, or a fetched run.")]
Files = Annotated[list[str], typer.Argument(metavar="FILE…", help="Files as the trainer takes them.")]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="TARGET",
        help="local, ssh://user@host:port, a name of ~/.ssh/config, ec2 or ec2://i-….",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Agree to what costs or destroys.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override the job file: --set config.epochs=3."),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data", metavar="[NAME=]PATH", help="A data folder; without NAME, the folder of them all."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
MaxHours = Annotated[
    float | None,
    typer.Option(metavar="H", help="End the run, and a box launched for it, after so many hours."),
]
Budget = Annotated[float | None, typer.Option(metavar="USD", help="As many hours as these dollars buy.")]
Cidr = Annotated[
    str | None, typer.Option("--ssh-cidr", metavar="CIDR", help="Who is let in; else this address alone.")
]
World = Annotated[bool, typer.Option("--open-to-the-world", help="Allow --ssh-cidr 0.0.0.0/0.")]


def ours(ctx: typer.Context, json: bool, yes: bool = False) -> Context:
    """The context of this command line, with what its flags say."""
    found: Context = ctx.obj
    found.json, found.yes = json, yes
    return found


def end(code: int) -> None:
    """Ends the command with this exit code."""
    raise typer.Exit(int(code))
