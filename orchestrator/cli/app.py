"""`gpujob`: the groups of commands put together, and the function that runs one command line."""

from __future__ import annotations

import contextlib
import copy
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import typer
from typer.models import CommandInfo, TyperInfo

from orchestrator.cli import analysis, hosts, reach, results, setup, sweep
from orchestrator.cli import run as runs
from orchestrator.cli.help import Group
from orchestrator.context import Context, from_process
from orchestrator.errors import Exit


class Cut(Exception):
    """Ctrl-C within Typer, which would end without a word."""


@contextlib.contextmanager
def _passed_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Cut from None


class Root(Group):
    """Ctrl-C is reported in words, whatever it cuts. A command gets its parser when it is used."""

    def get_command(self, ctx: Any, name: str) -> Any:
        return _command(name).commands.get(name)

    def make_context(self, *args: Any, **settings: Any) -> Any:
        with _passed_on():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: Any) -> Any:
        with _passed_on():
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
    """The command `name` alone, or all commands if it is none: those are listed, and get parsers when used.

    The parsers of all commands take longer than most commands run. Built once in a process, which may run
    many command lines.
    """
    commands = [one for part in PARTS for one in part.registered_commands]
    groups = [one for part in PARTS for one in part.registered_groups]
    chosen = copy.copy(app)
    chosen.registered_commands = [one for one in commands if one.name == name]
    chosen.registered_groups = [one for one in groups if one.name == name]
    if chosen.registered_commands or chosen.registered_groups:
        return typer.main.get_group(chosen)
    chosen.registered_commands = [_listed(one) for one in commands]
    chosen.registered_groups = [_listed_group(one) for one in groups]
    return typer.main.get_command(chosen)


def _listed(command: CommandInfo) -> CommandInfo:
    listed = copy.copy(command)
    listed.help, listed.callback = inspect.getdoc(command.callback), lambda: None
    return listed


def _listed_group(group: TyperInfo) -> TyperInfo:
    listed, listed.typer_instance = copy.copy(group), copy.copy(group.typer_instance)
    assert listed.typer_instance
    listed.typer_instance.registered_commands = []
    return listed


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
    except (KeyboardInterrupt, Cut):
        code = _report(ctx, None, words)
    except Exception as error:
        code = _report(ctx, error, words)
    ctx.detail(f"exit code {code} after {ctx.now() - started:.2f} s; errors are logged in {ctx.log_file}")
    return code


def _report(ctx: Context, error: Exception | None, words: list[str]) -> int:
    """`error`: None for Ctrl-C."""
    from orchestrator.cli import failures  # only a failure pays for it

    return failures.report(ctx, error or failures.interrupted(ctx, words), words)
