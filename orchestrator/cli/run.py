"""The commands of the group Run: signatures and help. Bodies are imported late."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.help import command
from orchestrator.cli.options import (
    Budget,
    Cidr,
    Data,
    DryRun,
    InitFrom,
    Job,
    JobToStart,
    Json,
    MaxHours,
    On,
    OnHostOfRun,
    OnKnownHosts,
    Regions,
    Resume,
    Run,
    Sets,
    WaitForCapacity,
    World,
    Yes,
    context,
)
from orchestrator.errors import UsageError

app = typer.Typer()
PANEL = "Run"


@command(
    app,
    "deploy",
    "deploy train.yaml --follow",
    "deploy slowfast --on ec2 --budget 20 --dry-run",
    rich_help_panel=PANEL,
)
def deploy(
    ctx: typer.Context,
    job: JobToStart = None,
    on: On = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name the run, to start a second one (default: the job's name)."),
    ] = None,
    sets: Sets = None,
    data: Data = None,
    init_from: InitFrom = None,
    resume: Resume = None,
    follow: Annotated[bool, typer.Option("--follow", help="Print the log until the run ends.")] = False,
    dry_run: DryRun = False,
    regions: Regions = None,
    max_hours: MaxHours = None,
    budget: Budget = None,
    wait_for_capacity: WaitForCapacity = None,
    cidr: Cidr = None,
    world: World = False,
    share_gpu: Annotated[
        bool, typer.Option("--share-gpu", help="Start even if another process is using a GPU.")
    ] = False,
    queue: Annotated[
        bool, typer.Option("--queue", help="Wait on the host until resources.gpus GPUs are free.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Check a job, send its code and data, and start it in tmux."""
    from orchestrator.commands import deploy as implementation
    from orchestrator.commands.deployment import Request

    request = Request(
        job,
        on=on,
        name=name,
        sets=tuple(sets or ()),
        data=tuple(data or ()),
        init_from=init_from,
        resume=resume,
        follow=follow,
        dry_run=dry_run,
        share_gpu=share_gpu,
        queue=queue,
        regions=tuple(regions or ()),
        max_hours=max_hours,
        budget=budget,
        ssh_cidr=cidr,
        open_to_the_world=world,
        wait_for_capacity=wait_for_capacity,
    )
    return implementation.deploy(context(ctx, json, yes), request)


@command(app, "check", "check blendshapes --data sample", "check --list blendshapes", rich_help_panel=PANEL)
def check(
    ctx: typer.Context,
    job: Job,
    on: On = None,
    sets: Sets = None,
    data: Data = None,
    init_from: InitFrom = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ignore the cached result of these checks.")] = False,
    list_only: Annotated[
        bool, typer.Option("--list", help="Print code, tier and meaning of each check; run none.")
    ] = False,
    json: Json = False,
) -> int:
    """Test a job's data and configuration before anything starts."""
    from orchestrator.commands import check as implementation

    return implementation.check(
        context(ctx, json), job, on, sets or [], data or [], fresh, init_from, list_only
    )


@command(
    app,
    "status",
    "status blendshapes --lines 20",
    "status --state failed --since 2d --all",
    rich_help_panel=PANEL,
)
def status(
    ctx: typer.Context,
    run: Run = None,
    on: OnKnownHosts = None,
    cached: Annotated[bool, typer.Option("--cached", help="Show the last answer; contact no host.")] = False,
    lines: Annotated[
        int,
        typer.Option(min=0, max=100, metavar="N", help="Show the last N log lines, 0 to 100 (default 5)."),
    ] = 5,
    every: Annotated[bool, typer.Option("--all", help="Show all runs that have ended, too.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Show the latest N ended runs of a host (default 10)."),
    ] = None,
    states: Annotated[
        list[str] | None,
        typer.Option("--state", metavar="STATE", help="Show runs in this state; repeatable (default: all)."),
    ] = None,
    job: Annotated[
        str | None, typer.Option(metavar="JOB", help="Show runs of this job (default: of all).")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Show runs created since: 3h, 2d or 2026-11-20 (default: all)."),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="Wait this long for each host (default: 2 to 16, by its earlier answers).",
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Show state, progress, processes, GPUs and disk of runs."""
    from orchestrator.commands import status as implementation

    ours = context(ctx, json)
    if run and (every or limit is not None or states or job or since):
        what = "RUN is one run; --all, --limit, --state, --job and --since choose among all"
        raise UsageError(what, "", f"gpujob status {run}")
    if every and limit is not None:
        raise UsageError("--all and --limit exclude each other", "", "gpujob status --all")
    shown = None if every else implementation.SHOWN if limit is None else limit
    created_since = None
    if since is not None:
        from orchestrator.core.values import parse_since

        created_since = parse_since(since, ours.now())
    query = implementation.Query(run, on, cached, lines, shown, tuple(states or ()), job, created_since, wait)
    return implementation.status(ours, query)


@command(app, "monitor", "monitor", "monitor blendshapes --stream", rich_help_panel=PANEL)
def monitor(
    ctx: typer.Context,
    run: Run = None,
    on: OnHostOfRun = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the log so far, then follow it.")] = False,
    attach: Annotated[
        bool, typer.Option("--attach", help="Attach to the tmux session; Ctrl-b d detaches.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, metavar="SECONDS", help="Refresh interval in seconds (default 2).")
    ] = 2.0,
    json: Json = False,
) -> int:
    """Watch one run live, or all of them; Ctrl-C leaves them running."""
    from orchestrator.commands import monitor as implementation

    if stream and attach:
        raise UsageError("--stream and --attach exclude each other", "", "gpujob monitor --stream")
    mode = "attach" if attach else "stream" if stream else "screen"
    return implementation.monitor(context(ctx, json), run, on, mode, interval)


@command(
    app,
    "logs",
    "logs blendshapes --tail 100",
    "logs --grep 'loss|nan' --since 2h --no-follow",
    rich_help_panel=PANEL,
)
def logs(
    ctx: typer.Context,
    run: Run = None,
    on: OnHostOfRun = None,
    tail: Annotated[
        int | None,
        typer.Option(min=0, max=100_000, metavar="N", help="Print the last N lines only (default: all)."),
    ] = None,
    grep: Annotated[
        str | None,
        typer.Option(metavar="RE", help="Print lines that match this regular expression (default: all)."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Print what was written since: 90m, 3h, 2d or 2026-11-20, within 15 s (default: all).",
        ),
    ] = None,
    attempt: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Print this attempt only (default: all).")
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Print the log of host N of several (default: 0, the first)."),
    ] = None,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="Print what there is and exit, also of an active run.")
    ] = False,
    json: Json = False,
) -> int:
    """Print a run's log, or chosen lines of it, until the run ends."""
    from orchestrator.commands import logs as implementation

    request = implementation.Request(run, on, tail, grep, since, attempt, not no_follow, rank)
    return implementation.logs(context(ctx, json), request)


@command(app, "stop", "stop", "stop blendshapes --clean", rich_help_panel=PANEL)
def stop(
    ctx: typer.Context,
    run: Run = None,
    on: OnHostOfRun = None,
    now: Annotated[bool, typer.Option("--now", help="Kill it without waiting for a checkpoint.")] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Delete its working copy and temporary files.")
    ] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete the whole run folder, checkpoints too, after a prompt.")
    ] = False,
    terminate: Annotated[
        bool, typer.Option("--terminate", help="Fetch all its files, then terminate its EC2 instance.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Stop a run after a checkpoint; verify that no process is left."""
    from orchestrator.commands import stop as implementation

    return implementation.stop(context(ctx, json, yes), run, on, now, clean, purge, terminate)
