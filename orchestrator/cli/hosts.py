"""`gpujob hosts ... | cost`: signatures and help. Bodies are imported late."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.help import Group, command
from orchestrator.cli.options import (
    Budget,
    Cidr,
    DryRun,
    Instance,
    Json,
    WaitForCapacity,
    World,
    Yes,
    context,
)

PANEL = "Instances"
app = typer.Typer()
group = typer.Typer(
    cls=Group,
    help="Launch, list and terminate EC2 instances; record host keys.",
    epilog="hosts up --type g5.xlarge --max-hours 8\nhosts list",
    no_args_is_help=True,
)
app.add_typer(group, name="hosts", rich_help_panel=PANEL)


@command(
    group,
    "up",
    "hosts up --type g5.xlarge --max-hours 8",
    "hosts up --spot --region us-west-2 --budget 10 --wait-for-capacity 6",
)
def up(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name the instance; one per name (default shared).")
    ] = "shared",
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Try this type; repeat in order of preference (default: a GPU type).",
        ),
    ] = None,
    spot: Annotated[
        bool, typer.Option("--spot", help="Use spot capacity: cheaper, but AWS may interrupt it.")
    ] = False,
    regions: Annotated[
        list[str] | None,
        typer.Option(
            "--region",
            metavar="REGION",
            help="Try this region; repeat in order of preference (default: the setting `region`).",
        ),
    ] = None,
    disk_gb: Annotated[
        int,
        typer.Option("--disk-gb", min=0, metavar="GB", help="Disk size in GB (default 0: chosen by gpujob)."),
    ] = 0,
    gpus: Annotated[
        int, typer.Option(min=0, metavar="N", help="Require this number of GPUs (default 1).")
    ] = 1,
    max_hours: Annotated[
        float | None,
        typer.Option(metavar="HOURS", help="Stop the instance after this many hours (default 24)."),
    ] = None,
    budget: Budget = None,
    wait_for_capacity: WaitForCapacity = None,
    cidr: Cidr = None,
    world: World = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Launch an EC2 instance that several runs can share.

    `gpujob deploy JOB --on ec2` launches an instance for one run by itself.
    """
    from orchestrator.commands import hosts as implementation
    from orchestrator.commands.launch import launch_options
    from orchestrator.core.resources import Ec2, Resources
    from orchestrator.core.spec import Limits

    ec2 = Ec2(types=types or [], spot=spot, regions=regions or [], disk_gb=disk_gb)
    resources, limits = Resources(gpus=gpus, ec2=ec2), Limits(max_hours=max_hours, budget_usd=budget)
    options = launch_options(cidr, world, wait_for_capacity, dry_run)
    return implementation.up(context(ctx, json, yes), name, resources, limits, options)


@command(group, "attach", "hosts attach gpubox", "hosts attach ssh://me@10.0.0.5 --fingerprint SHA256:...")
def attach(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="HOST", help="ssh://USER@HOST:PORT, an SSH config name or ec2://ID."),
    ],
    fingerprint: Annotated[
        str | None,
        typer.Option(metavar="SHA256:...", help="Accept only this fingerprint (default: ask)."),
    ] = None,
    json: Json = False,
) -> int:
    """Record a host's SSH key after its fingerprint is confirmed."""
    from orchestrator.commands import hosts as implementation

    return implementation.attach(context(ctx, json), name, fingerprint)


@command(group, "list", "hosts list", "hosts list --cached --json")
def list_hosts(
    ctx: typer.Context,
    cached: Annotated[
        bool, typer.Option("--cached", help="Show the last known state; contact no AWS API.")
    ] = False,
    json: Json = False,
) -> int:
    """List recorded hosts, and EC2 instances with their cost."""
    from orchestrator.commands import hosts as implementation

    return implementation.list_hosts(context(ctx, json), cached)


@command(
    group, "extend", "hosts extend ec2 --hours 2", "hosts extend ec2://i-0123456789abcdef0 --hours 8 --yes"
)
def extend(
    ctx: typer.Context,
    instance: Instance,
    hours: Annotated[float, typer.Option(metavar="HOURS", help="Add this many hours (required).")],
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Postpone the deadline at which an instance shuts down."""
    from orchestrator.commands import hosts as implementation

    return implementation.extend(context(ctx, json, yes), instance, hours)


@command(group, "down", "hosts down ec2", "hosts down ec2://i-0123456789abcdef0 --purge --yes")
def down(
    ctx: typer.Context,
    instance: Instance,
    discard: Annotated[bool, typer.Option("--discard", help="Terminate without fetching its files.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Delete its data volume too.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Fetch and verify the files of all its runs, then terminate it."""
    from orchestrator.commands import hosts as implementation

    return implementation.down(context(ctx, json, yes), instance, discard, purge)


@command(group, "orphans", "hosts orphans", "hosts orphans --region us-east-1 --end")
def orphans(
    ctx: typer.Context,
    regions: Annotated[
        list[str] | None,
        typer.Option("--region", metavar="REGION", help="Search this region; repeatable (default: all)."),
    ] = None,
    terminate: Annotated[
        bool, typer.Option("--end", help="Terminate and delete what is found, after a prompt.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Find instances and volumes of gpujob that nothing uses."""
    from orchestrator.commands import orphans as implementation

    return implementation.orphans(context(ctx, json, yes), regions or [], terminate)


@command(group, "ssh-config", "hosts ssh-config", "hosts ssh-config > ~/.ssh/gpujob.conf")
def ssh_config(ctx: typer.Context, json: Json = False) -> int:
    """Print EC2 instances as SSH configuration, for ssh, scp and editors."""
    from orchestrator.commands import ssh_config as implementation

    return implementation.ssh_config(context(ctx, json))


@command(group, "types", "hosts types --gpu L40S", "hosts types --gpus 8 --region eu-west-1 --refresh")
def types(
    ctx: typer.Context,
    gpu: Annotated[
        str | None, typer.Option(metavar="MODEL", help="List types with this GPU (default: all).")
    ] = None,
    gpus: Annotated[
        int, typer.Option(min=1, metavar="N", help="List types with at least this many GPUs (default 1).")
    ] = 1,
    regions: Annotated[
        list[str] | None,
        typer.Option(
            "--region", metavar="REGION", help="Show this region; repeatable (default: the setting `region`)."
        ),
    ] = None,
    spot: Annotated[
        bool, typer.Option("--spot", help="Ask EC2 for the current spot prices and show them too.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Get today's prices from AWS's price list and keep them.")
    ] = False,
    json: Json = False,
) -> int:
    """List GPU instance types with their prices."""
    from orchestrator.commands import types as implementation

    request = implementation.Request(gpu, gpus, tuple(regions or ()), spot, refresh)
    return implementation.types(context(ctx, json), request)


@command(app, "cost", "cost", "cost --json", rich_help_panel=PANEL)
def cost(ctx: typer.Context, json: Json = False) -> int:
    """Show what instances cost, by run and by month."""
    from orchestrator.commands import cost as implementation

    return implementation.cost(context(ctx, json))
