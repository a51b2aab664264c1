"""What an error looks like: what, why and next on stderr, or JSON; a traceback goes to the log.

Of Ctrl-C: what was cut, what goes on without gpujob and costs, and the command that continues.
"""

from __future__ import annotations

import contextlib
import errno
import platform
import traceback

from orchestrator import __version__, files
from orchestrator.cli.words import wants_json
from orchestrator.context import Context
from orchestrator.core import shell
from orchestrator.core.shell import show
from orchestrator.errors import Exit, GpujobError, UsageError
from orchestrator.view.answer import Error, ErrorAnswer
from orchestrator.view.console import Paint

_RUNS_SHOWN = 3
_WORDS_OF_OTHERS = {
    "gpujob deploy --help": (
        "arguments of your script are words of `command` in the job file",
        "gpujob deploy --help",
    ),
    "gpujob ssh --help": ("a command for the host comes after --", "gpujob ssh RUN -- COMMAND"),
}
"""The command to whose words those of another program do not belong → why, and what to do instead."""


class Interrupted(GpujobError):
    """Ctrl-C. The same command continues, unless it has started its run already."""

    exit_code = Exit.INTERRUPTED


def interrupted(ctx: Context, words: list[str]) -> Interrupted:
    """What the client knows at this moment; no host is asked."""
    from orchestrator.commands import rows

    what = "interrupted" + (f"; cut: {ctx.step}" if ctx.step else "")
    runs = rows.activity(ctx)
    more = f" and {len(runs) - _RUNS_SHOWN} more (gpujob status)" if runs[_RUNS_SHOWN:] else ""
    shown = f"still going: {', '.join(runs[:_RUNS_SHOWN])}{more}"
    why = shown if runs else "no run and no instance is known to be going"
    return Interrupted(what, why, f"gpujob {show(words)}".strip())


# What a system that is short of something, or a disk that fails, answers to a write or a new process.
_WITHOUT_NAME = (errno.EAGAIN, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)


def report(ctx: Context, error: Exception, words: list[str]) -> int:
    """Prints `error` and returns its exit code."""
    known = _known(error) or GpujobError(
        f"gpujob itself failed: {type(error).__name__}: {error}",
        "this is a bug in gpujob",
        _log(ctx, error, words),
    )
    if ctx.debug:
        ctx.warn("".join(traceback.format_exception(error)))
    if ctx.json or wants_json(words):
        ctx.answer(ErrorAnswer(error=_as_json(known)))
    else:
        _print(ctx, known)
    return int(known.exit_code)


def _known(error: Exception) -> GpujobError | None:
    """The error as one of ours; None if it is a bug."""
    if isinstance(error, GpujobError):
        return error
    if type(error).__name__ == "NoArgsIsHelpError":  # its text is the whole help page
        return UsageError(str(error))
    format_message = getattr(error, "format_message", None)  # a usage error of Typer
    if format_message is not None:
        usage = getattr(error, "ctx", None)
        command = f"{usage.command_path} --help" if usage else "gpujob --help"
        what = str(format_message()).rstrip(".")
        if what.startswith(("Got unexpected extra", "No such option")) and command in _WORDS_OF_OTHERS:
            return UsageError(what, *_WORDS_OF_OTHERS[command])
        return UsageError(what, "", command)
    return _of_the_system(error) if isinstance(error, OSError) else None


def _of_the_system(error: OSError) -> GpujobError | None:
    """What the system refused; None where only a bug asks for it, as for a file that is closed."""
    name = str(error.filename or "")
    if error.errno == errno.ENOSPC:
        return GpujobError("the disk is full", name, f"df -h {shell.join([name or '.'])}")
    if error.errno == errno.EDQUOT:
        return GpujobError("the disk quota of this user is used up", name, "quota -s")
    if name or error.errno in _WITHOUT_NAME:
        what = f"{name}: {error.strerror}" if name else error.strerror or str(error)
        return GpujobError(what, f"{type(error).__name__} from the system")
    return None


def _print(ctx: Context, error: GpujobError) -> None:
    if error.what.startswith("Usage:"):
        ctx.warn(error.what)
        return
    paint = Paint(ctx.env, ctx.stderr)
    if error.exit_code == Exit.INTERRUPTED and ctx.stderr.isatty():
        ctx.warn("")  # the terminal has printed ^C
    ctx.warn(paint("error: ", "red", "bold") + error.what)
    if error.why:
        ctx.warn("  why:  " + error.why)
    if error.next_step:
        ctx.warn("  next: " + error.next_step)


def _as_json(error: GpujobError) -> Error:
    return Error(
        kind=type(error).__name__,
        what=error.what,
        why=error.why,
        next_step=error.next_step,
        exit_code=int(error.exit_code),
    )


def _log(ctx: Context, error: Exception, words: list[str]) -> str:
    with contextlib.suppress(OSError):
        system = f"{platform.platform()} Python {platform.python_version()}"
        trace = "".join(traceback.format_exception(error))
        with files.open_to_append(ctx.log_file) as log:
            text = f"gpujob {__version__} on {system}\n$ gpujob {show(words)}\n{trace}\n"
            log.write(text.encode("utf-8", "surrogateescape"))
    return f"the traceback is in {ctx.log_file}; --debug shows it"
