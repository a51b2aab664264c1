"""`gpujob hosts …`: signatures and help. Like cli.py it knows Typer, and imports its bodies late."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import (
    Budget,
    Cidr,
    DryRun,
    Json,
    MaxHours,
    On,
    Run,
    World,
    Yes,
    end,
    ours,
)

app = typer.Typer(help="Machines to log in to: host keys, and boxes of EC2.", no_args_is_help=True)
Box = Annotated[str, typer.Argument(metavar="BOX", help="ec2://i-…, or ec2 for the only one.")]


@app.command()
def up(
    ctx: typer.Context,
    name: Annotated[str, typer.Option(metavar="NAME", help="What it is for; one box a name.")] = "box",
    types: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="In order of preference: g5.xlarge.")
    ] = None,
    spot: Annotated[bool, typer.Option("--spot", help="Cheaper, and may be taken back at any time.")] = False,
    regions: Annotated[list[str] | None, typer.Option("--region", metavar="REGION", help="In order.")] = None,
    disk_gb: Annotated[
        int, typer.Option("--disk-gb", min=0, metavar="GB", help="0: what the image asks.")
    ] = 0,
    gpus: Annotated[int, typer.Option(min=0, metavar="N", help="GPUs it must have.")] = 1,
    max_hours: MaxHours = None,
    budget: Budget = None,
    cidr: Cidr = None,
    world: World = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Launch a box of EC2 for several runs; deploy with --on ec2 launches one for a run."""
    from orchestrator.commands import fleet as verb  # noqa: PLC0415
    from orchestrator.commands.boxes import Ingress  # noqa: PLC0415
    from orchestrator.core.spec import Ec2, Limits  # noqa: PLC0415

    wanted = Ec2(types=types or [], spot=spot, regions=regions or [], disk_gb=disk_gb)
    limits = Limits(max_hours=max_hours, budget_usd=budget)
    end(verb.up(ours(ctx, json, yes), name, wanted, gpus, limits, Ingress(cidr, world), dry_run))


@app.command("attach")
def attach(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="ssh://user@host:port, a name of ~/.ssh/config, or ec2://i-…."),
    ],
    fingerprint: Annotated[str | None, typer.Option(metavar="SHA256:…", help="What it must show.")] = None,
    json: Json = False,
) -> None:
    """Put a host's key on record; asks unless the fingerprint is given."""
    from orchestrator.commands import hosts as verb  # noqa: PLC0415

    end(verb.attach(ours(ctx, json), name, fingerprint))


def ssh(ctx: typer.Context, run: Run = None, on: On = None) -> None:
    """Open a shell where a run is, in its folder."""
    from orchestrator.commands import login as verb  # noqa: PLC0415

    end(verb.login(ours(ctx, False), run, on))


@app.command("list")
def listed(
    ctx: typer.Context,
    cached: Annotated[bool, typer.Option("--cached", help="Do not ask EC2.")] = False,
    json: Json = False,
) -> None:
    """The hosts that were put on record here, and the boxes of EC2 with what they cost."""
    from orchestrator.commands import hosts as verb  # noqa: PLC0415

    end(verb.listed(ours(ctx, json), cached))


@app.command()
def extend(
    ctx: typer.Context,
    box: Box,
    hours: Annotated[float, typer.Option(metavar="H", help="So many hours longer.")],
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Move a box's deadline."""
    from orchestrator.commands import fleet as verb  # noqa: PLC0415

    end(verb.extend(ours(ctx, json, yes), box, hours))


@app.command()
def down(
    ctx: typer.Context,
    box: Box,
    discard: Annotated[bool, typer.Option("--discard", help="Do not fetch what its runs left.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Its data volume too.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Fetch all that a box's runs left, verify it, and terminate the box."""
    from orchestrator.commands import fleet as verb  # noqa: PLC0415

    end(verb.down(ours(ctx, json, yes), box, discard, purge))


@app.command()
def orphans(
    ctx: typer.Context,
    regions: Annotated[
        list[str] | None, typer.Option("--region", metavar="REGION", help="Only there; else everywhere.")
    ] = None,
    terminate: Annotated[bool, typer.Option("--end", help="Terminate and delete them; asks.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Find boxes and volumes of gpujob that nobody holds, in every region, by their tags."""
    from orchestrator.commands import fleet as verb  # noqa: PLC0415

    end(verb.orphans(ours(ctx, json, yes), regions or [], terminate))
