"""What a failure looks like: three lines, or JSON; the traceback goes to a log that is named."""

from __future__ import annotations

import contextlib
import errno
import platform
import traceback

import typer

from orchestrator import __version__
from orchestrator.context import Context
from orchestrator.core.shell import show
from orchestrator.errors import Exit, GpujobError, UsageError
from orchestrator.view.console import Paint, harmless


def report(ctx: Context, error: Exception, words: list[str]) -> int:
    """Shows `error` and returns its exit code."""
    if isinstance(error, typer.Abort):  # what Typer makes of Ctrl-C
        ctx.talk("\ninterrupted; gpujob status tells what runs, and the same command carries on")
        return Exit.INTERRUPTED
    known = _known(error)
    if known is None:
        known = GpujobError(
            f"gpujob itself failed: {type(error).__name__}: {error}",
            "this is a fault of gpujob",
            _logged(ctx, error, words),
        )
    if ctx.debug:
        ctx.stderr.write("".join(traceback.format_exception(error)))
    if ctx.json or "--json" in words:
        ctx.answer({"error": known.as_dict()})
    else:
        _print(ctx, known)
    return int(known.exit_code)


def _known(error: Exception) -> GpujobError | None:
    if isinstance(error, GpujobError):
        return error
    if type(error).__name__ == "NoArgsIsHelpError":
        return UsageError(str(error))
    shown = getattr(error, "format_message", None)  # a usage error of Typer
    if shown is not None:
        usage = getattr(error, "ctx", None)
        hint = f"{usage.command_path} --help" if usage else "gpujob --help"
        return UsageError(str(shown()).rstrip("."), "", hint)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return GpujobError("the disk is full", str(error.filename or ""), "free some space and type it again")
    if isinstance(error, OSError) and error.filename:
        return GpujobError(
            f"{error.strerror}: {error.filename}", f"the system said no ({type(error).__name__})"
        )
    return None


def _print(ctx: Context, error: GpujobError) -> None:
    if error.what.startswith("Usage:"):
        ctx.talk(error.what)
        return
    paint = Paint(ctx.env, ctx.stderr)
    ctx.talk(paint("error: ", "red", "bold") + harmless(error.what))
    if error.why:
        ctx.talk("  why:  " + harmless(error.why))
    if error.next_step:
        ctx.talk("  next: " + harmless(error.next_step))


def _logged(ctx: Context, error: Exception, words: list[str]) -> str:
    path = ctx.state_dir / "gpujob.log"
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as log:
            log.write(f"gpujob {__version__} on {platform.platform()} Python {platform.python_version()}\n")
            log.write(f"$ gpujob {show(words)}\n{''.join(traceback.format_exception(error))}\n")
    return f"the traceback is in {path}; --debug shows it"
