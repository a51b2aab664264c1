"""`gpujob`: the groups of commands put together, and the function that runs one command line."""

from __future__ import annotations

import sys
from typing import Any

import typer

from orchestrator import __version__
from orchestrator.cli import hosts, results, run, setup
from orchestrator.cli.help import Group
from orchestrator.context import Context, from_process
from orchestrator.errors import Exit


class Root(Group):
    """Ctrl-C in a command that does not handle it is an error of ours, with its own exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            from orchestrator.cli.failures import Interrupted

            raise Interrupted(
                "interrupted", "runs that were started go on", "gpujob status; the same command continues"
            ) from None


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
for part in (run, results, hosts, setup):
    app.add_typer(part.app)


def main(argv: list[str] | None = None, ctx: Context | None = None) -> int:
    """Runs one command line in this process; returns its exit code. Tests pass their own context."""
    words = sys.argv[1:] if argv is None else argv
    if words in (["--version"], ["-V"]):  # no Context is needed
        (ctx.out if ctx else _print)(f"gpujob {__version__}")
        return Exit.DONE
    try:
        ctx = ctx or from_process()
    except FileNotFoundError:
        sys.stderr.write("error: the current folder was deleted\n  next: cd ~\n")
        return Exit.FAILED
    started = ctx.now()
    try:
        code = int(app(words, obj=ctx, standalone_mode=False, prog_name="gpujob") or 0)
    except Exception as error:
        from orchestrator.cli.failures import report  # only a failure pays for it

        code = report(ctx, error, words)
    ctx.detail(f"exit code {code} after {ctx.now() - started:.2f} s; errors are logged in {ctx.log_file}")
    return code


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def script() -> None:
    """The console entry point."""
    sys.exit(main())
