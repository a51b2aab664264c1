"""`gpujob`: the groups of commands put together, and the function that runs one command line."""

from __future__ import annotations

import copy
import sys
from functools import cache
from typing import Any

import typer

from orchestrator.cli import analysis, hosts, interrupts, reach, results, setup, sweep
from orchestrator.cli import run as runs
from orchestrator.cli.help import Group
from orchestrator.context import Context, from_process
from orchestrator.errors import Exit


class Root(Group):
    """Ctrl-C is reported in words, whatever it cuts."""

    def make_context(self, *args: Any, **settings: Any) -> Any:
        with interrupts.passed_on():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: Any) -> Any:
        with interrupts.passed_on():
            return super().invoke(ctx)


app = typer.Typer(
    name="gpujob",
    cls=Root,
    help="Run a training on EC2, an SSH host or this machine, and fetch its verified checkpoint.",
    epilog="init train.py\ndeploy train --on ec2 --budget 5",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PARTS = (runs.app, sweep.app, reach.app, results.app, analysis.app, hosts.app, setup.app)
for part in PARTS:
    app.add_typer(part)


@cache
def _command(name: str) -> Any:
    """The commands with their parsers, or `name` alone if it is one: all others take longer than it runs.

    Built once in a process, which may run many command lines.
    """
    commands = [one for part in PARTS for one in part.registered_commands if one.name == name]
    groups = [one for part in PARTS for one in part.registered_groups if one.name == name]
    if not commands and not groups:
        return typer.main.get_command(app)
    chosen = copy.copy(app)
    chosen.registered_commands, chosen.registered_groups = commands, groups
    return typer.main.get_group(chosen)


def run(argv: list[str] | None = None, ctx: Context | None = None) -> int:
    """Runs one command line in this process; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    try:
        ctx = ctx or from_process()
    except FileNotFoundError:
        sys.stderr.write("error: the current folder was deleted\n  next: cd ~\n")
        return Exit.FAILED
    started = ctx.now()
    try:
        command = _command(words[0] if words else "")
        code = int(command(words, obj=ctx, standalone_mode=False, prog_name="gpujob") or 0)
    except (KeyboardInterrupt, interrupts.Cut):
        code = _report(ctx, interrupts.describe(ctx, words), words)
    except Exception as error:
        code = _report(ctx, error, words)
    ctx.detail(f"exit code {code} after {ctx.now() - started:.2f} s; errors are logged in {ctx.log_file}")
    return code


def _report(ctx: Context, error: Exception, words: list[str]) -> int:
    from orchestrator.cli.failures import report  # only a failure pays for it

    return report(ctx, error, words)
