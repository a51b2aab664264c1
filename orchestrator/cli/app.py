"""The commands: signatures and help; with arguments.py all that knows Typer. Bodies import late."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from orchestrator import __version__
from orchestrator.cli import hosts
from orchestrator.cli.options import (
    Budget,
    Checkpoint,
    Cidr,
    Data,
    DryRun,
    Files,
    Job,
    Json,
    MaxHours,
    On,
    Run,
    Sets,
    World,
    Yes,
    end,
    ours,
    runs_like,
    trainers_like,
)
from orchestrator.context import Context, from_process
from orchestrator.errors import Exit

app = typer.Typer(
    name="gpujob",
    help="Takes a training to where it runs and its checkpoint home again.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="Settings and where each comes from.", no_args_is_help=True)
app.add_typer(hosts.app, name="hosts")
app.command("ssh")(hosts.ssh)
app.add_typer(config_app, name="config")


@app.command()
def deploy(
    ctx: typer.Context,
    job: Job,
    on: On = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Run it under another name, beside one that is going.")
    ] = None,
    sets: Sets = None,
    data: Data = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on with a run that ended.", autocompletion=runs_like),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show its log until it ends.")] = False,
    dry_run: DryRun = False,
    max_hours: MaxHours = None,
    budget: Budget = None,
    cidr: Cidr = None,
    world: World = False,
    share_gpu: Annotated[bool, typer.Option("--share-gpu", help="Although others hold a GPU.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Check a job, bring its code and data to the target, and start it in a named tmux session."""
    from orchestrator.commands import deploy as verb  # noqa: PLC0415
    from orchestrator.commands.boxes import Ingress  # noqa: PLC0415

    given = (tuple(sets or ()), tuple(data or ()))
    request = verb.Request(job, on, name, *given, resume, follow, dry_run, share_gpu, max_hours, budget)
    request = replace(request, ingress=Ingress(cidr, world))
    end(verb.deploy(ours(ctx, json, yes), request))


@app.command()
def check(
    ctx: typer.Context,
    job: Job,
    on: On = None,
    sets: Sets = None,
    data: Data = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Look again, although a verdict is cached.")] = False,
    json: Json = False,
) -> None:
    """Look at the data and try the recipe: what would go wrong, before it costs."""
    from orchestrator.commands import check as verb  # noqa: PLC0415

    end(verb.check(ours(ctx, json), job, on, sets or [], data or [], fresh))


@app.command()
def status(
    ctx: typer.Context,
    run: Run = None,
    on: On = None,
    cached: Annotated[bool, typer.Option("--cached", help="Ask nobody; show the last answer.")] = False,
    lines: Annotated[int, typer.Option(min=0, max=100, metavar="N", help="Last lines of the log.")] = 5,
    json: Json = False,
) -> None:
    """Show runs: state, step, processes, GPUs, memory, disk, last lines."""
    from orchestrator.commands import status as verb  # noqa: PLC0415

    end(verb.status(ours(ctx, json), run, on, cached, lines))


@app.command()
def monitor(
    ctx: typer.Context,
    run: Run = None,
    on: On = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="The log: what was printed, then what is printed.")
    ] = False,
    attach: Annotated[
        bool, typer.Option("--attach", help="The real tmux session; Ctrl-b d leaves it.")
    ] = False,
    interval: Annotated[float, typer.Option(min=0.2, metavar="S", help="Seconds between looks.")] = 2.0,
    json: Json = False,
) -> None:
    """Watch a run; Ctrl-C leaves it running."""
    from orchestrator.commands import monitor as verb  # noqa: PLC0415
    from orchestrator.errors import UsageError  # noqa: PLC0415

    if stream and attach:
        raise UsageError("--stream and --attach exclude each other")
    mode = "attach" if attach else "stream" if stream else "screen"
    end(verb.monitor(ours(ctx, json), run, on, mode, interval))


@app.command()
def stop(
    ctx: typer.Context,
    run: Run = None,
    on: On = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for a checkpoint.")] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove its working copy and temporary files.")
    ] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Remove all of it, checkpoints too; asks.")] = False,
    terminate: Annotated[
        bool, typer.Option("--terminate", help="Fetch all it left, then end its EC2 box.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """End a run with a checkpoint, and verify that none of its processes is left."""
    from orchestrator.commands import stop as verb  # noqa: PLC0415

    end(verb.stop(ours(ctx, json, yes), run, on, now, clean, purge, terminate))


@app.command()
def fetch(
    ctx: typer.Context,
    run: Run = None,
    on: On = None,
    which: Annotated[
        str, typer.Option(metavar="WHICH", help="Checkpoints to bring: best, last or all.")
    ] = "best",
    to: Annotated[str | None, typer.Option(metavar="DIR", help="Instead of ./fetched/<run-id>.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Take each new one until the run ends.")] = False,
    keep_box: Annotated[
        bool, typer.Option("--keep-box", help="Keep a box that was launched for this run.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Bring checkpoints, log and outputs home, and verify every hash."""
    from orchestrator.commands import fetch as verb  # noqa: PLC0415
    from orchestrator.errors import UsageError  # noqa: PLC0415

    if which not in ("best", "last", "all"):
        raise UsageError(f"--which {which}: best, last or all")
    end(verb.fetch(ours(ctx, json, yes), run, on, which, to, follow, keep_box))


@app.command()
def verify(ctx: typer.Context, path: Checkpoint, json: Json = False) -> None:
    """Check every hash of a checkpoint, or of all in a fetched run."""
    from orchestrator.commands import verify as verb  # noqa: PLC0415

    end(verb.verify(ours(ctx, json), path))


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def prepare(
    ctx: typer.Context,
    trainer: Annotated[
        str, typer.Argument(metavar="TRAINER", help="The trainer.", autocompletion=trainers_like)
    ],
    sample: Annotated[str | None, typer.Option(metavar="DIR", help="Write sample data there.")] = None,
    json: Json = False,
) -> None:
    """Make a trainer's sample data, or its data from --NAME PATH (--from NAME=PATH): its own sources."""
    from orchestrator.commands import trainer as verb  # noqa: PLC0415

    words = [*(["--sample", sample] if sample else []), *ctx.args]
    end(verb.prepare(ours(ctx, json), trainer, words))


@app.command()
def evaluate(
    ctx: typer.Context,
    checkpoint: Checkpoint,
    data: Data = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="train, val, test or all.")] = "test",
    json: Json = False,
) -> None:
    """Score a checkpoint on data: metrics and confusion matrix."""
    from orchestrator.commands import trainer as verb  # noqa: PLC0415

    end(verb.evaluate(ours(ctx, json), checkpoint, data or [], split))


@app.command()
def predict(ctx: typer.Context, checkpoint: Checkpoint, files: Files, json: Json = False) -> None:
    """Apply a checkpoint, and nothing else, to new files."""
    from orchestrator.commands import trainer as verb  # noqa: PLC0415

    end(verb.predict(ours(ctx, json), checkpoint, files))


@app.command()
def export(
    ctx: typer.Context,
    checkpoint: Checkpoint,
    to: Annotated[str | None, typer.Option(metavar="PATH", help="A folder, or a .pt2 file.")] = None,
    json: Json = False,
) -> None:
    """Write a checkpoint as one torch.export program that takes raw input."""
    from orchestrator.commands import trainer as verb  # noqa: PLC0415

    end(verb.export(ours(ctx, json), checkpoint, to))


@app.command()
def doctor(ctx: typer.Context, on: On = None, json: Json = False) -> None:
    """Say what a deploy to this target would need."""
    from orchestrator.commands import doctor as verb  # noqa: PLC0415

    end(verb.doctor(ours(ctx, json), on))


@app.command()
def init(
    ctx: typer.Context,
    script: Annotated[str | None, typer.Argument(metavar="[SCRIPT]", help="The script that trains.")] = None,
) -> None:
    """Write a commented job file for a script of your own."""
    from orchestrator.commands import init as verb  # noqa: PLC0415

    end(verb.init(ours(ctx, False), script))


@app.command()
def cost(ctx: typer.Context, json: Json = False) -> None:
    """What the boxes launched from here cost, by run and month, with what was wasted apart."""
    from orchestrator.commands import fleet as verb  # noqa: PLC0415

    end(verb.cost(ours(ctx, json)))


@config_app.command("show")
def config_show(ctx: typer.Context, json: Json = False) -> None:
    """Every setting, its value, and the place that gave it."""
    from orchestrator.commands import config as verb  # noqa: PLC0415

    end(verb.show(ours(ctx, json)))


@app.callback()
def _root(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Say the version.")] = False,
) -> None:
    ctx.obj.debug = debug


def main(argv: list[str] | None = None, ctx: Context | None = None) -> int:
    """Runs one command line in this process; returns its exit code. Tests give their own context."""
    words = sys.argv[1:] if argv is None else argv
    if words == ["--version"]:
        (ctx.out if ctx else _print)(f"gpujob {__version__}")
        return Exit.DONE
    try:
        ctx = ctx or from_process()
    except FileNotFoundError:
        sys.stderr.write("error: the folder you are in is gone\n  next: cd somewhere else\n")
        return Exit.FAILED
    try:
        return int(app(words, obj=ctx, standalone_mode=False, prog_name="gpujob") or 0)
    except Exception as error:
        from orchestrator.cli.failures import report  # noqa: PLC0415 - only a failure pays for it

        return report(ctx, error, words)


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def script() -> None:
    """The console entry point."""
    sys.exit(main())
