"""Arguments and options that several commands share.

The shell's completion finds what to offer by their metavar (completion.py).
"""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.context import Context

_TARGETS = "local, ec2, ec2://ID, USER@HOST, ssh://USER@HOST:PORT or an SSH config name"

Job = Annotated[
    str,
    typer.Argument(metavar="JOB", help="Job file (PATH.yaml) or the name of a job."),
]
JobToStart = Annotated[
    str | None,
    typer.Argument(
        metavar="[JOB]", help="Job file (PATH.yaml) or the name of a job; not needed with --resume."
    ),
]
Run = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="Run ID, a unique prefix of it, or a job's name for its latest run (default: the active run).",
    ),
]
Resume = Annotated[
    str | None,
    typer.Option(
        metavar="RUN",
        help="Continue a run that has ended from its last checkpoint (default: start a new run).",
    ),
]
Trainer = Annotated[
    str,
    typer.Argument(metavar="TRAINER", help="Name of the trainer."),
]
Checkpoint = Annotated[
    str, typer.Argument(metavar="CHECKPOINT", help="Checkpoint folder or fetched run folder.")
]
Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="Input files in the trainer's format.")]
Instance = Annotated[str, typer.Argument(metavar="INSTANCE", help="ec2://ID, or ec2 for your only instance.")]
On = Annotated[
    str | None,
    typer.Option("--on", metavar="TARGET", help=f"Use {_TARGETS} (default: the setting `target`, or local)."),
]
OnHostOfRun = Annotated[
    str | None,
    typer.Option("--on", metavar="TARGET", help=f"Use {_TARGETS} (default: the host of the run)."),
]
OnKnownHosts = Annotated[
    str | None,
    typer.Option("--on", metavar="TARGET", help=f"Use {_TARGETS} (default: all hosts with known runs)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, also for an error.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Confirm costs and deletions without a prompt.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the job file, such as config.epochs=3; repeatable (default: none).",
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="[NAME=]PATH",
        help="Use this data folder; without NAME, the job's only one or the parent of all; repeatable "
        "(default: from the job).",
    ),
]
DataOfCheckpoint = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="[NAME=]PATH",
        help="Evaluate on this data folder; without NAME, the parent of all; repeatable (required).",
    ),
]
InitFrom = Annotated[
    str | None,
    typer.Option(
        "--init-from",
        metavar="CHECKPOINT",
        help="Start with weights of a checkpoint, fetched run or .safetensors file (default: new weights).",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and change nothing.")]
MaxHours = Annotated[
    float | None,
    typer.Option(
        metavar="HOURS",
        help="Stop the run and its instance after this many hours (default: from the job; 24 on EC2).",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        metavar="USD",
        help="Maximum spend in USD, converted to hours at the instance's hourly price (default: none).",
    ),
]
Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        metavar="REGION",
        help="Launch in this AWS region; repeat in order of preference (default: from the job or settings).",
    ),
]
WaitForCapacity = Annotated[
    float | None,
    typer.Option(
        metavar="HOURS",
        help="Keep trying to launch for this many hours while EC2 has no capacity (default: do not wait).",
    ),
]
Cidr = Annotated[
    str | None,
    typer.Option(
        "--ssh-cidr",
        metavar="CIDR",
        help="Allow SSH to the instance from this address range (default: this machine's address).",
    ),
]
World = Annotated[bool, typer.Option("--open-to-the-world", help="Allow --ssh-cidr 0.0.0.0/0.")]


def context(ctx: typer.Context, json: bool = False, yes: bool = False) -> Context:
    """The Context of this process, with the command's own flags set."""
    ours: Context = ctx.obj
    ours.json, ours.yes = json, yes
    return ours
