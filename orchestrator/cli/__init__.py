"""The command line: the one part of the orchestrator that knows Typer.

Nothing is imported here, so that Ctrl-C is handled from the first moment.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator.context import Context


def main(argv: list[str] | None = None, ctx: Context | None = None) -> int:
    """Runs one command line in this process; returns its exit code. Tests pass their own context."""
    import sys

    words = sys.argv[1:] if argv is None else argv
    if words in (["--version"], ["-V"]):  # needs neither Typer nor a Context
        from orchestrator import __version__

        (ctx.stdout if ctx else sys.stdout).write(f"gpujob {__version__}\n")
        return 0
    from orchestrator.cli.app import run

    return run(words, ctx)


def script() -> None:
    """The console entry point. Once the command is done, Ctrl-C no longer changes how it ends."""
    import gc
    import os
    import sys

    gc.set_threshold(50_000, 20, 20)  # imports make many objects and hardly any garbage

    if "_GPUJOB_COMPLETE" in os.environ:
        from orchestrator.cli import completion

        if completion.answers(os.environ):
            sys.exit(completion.main(os.environ))
    _ensure_utf8()
    if sys.stdout is None or sys.stderr is None:  # closed, as by `>&-`
        nowhere = open(os.devnull, "w")  # noqa: PTH123, SIM115 - without pathlib, until the process ends
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    _ignore_odd_sizes()
    words = sys.argv[1:]
    try:
        code = main(words)
    except KeyboardInterrupt:
        code = _interrupted(words)
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _drop_what_cannot_be_written()
    gc.freeze()  # the process ends: nothing is worth a last collection
    sys.exit(code)


def _ignore_odd_sizes() -> None:
    """Keeps Rich from a screen of 99999999999 columns, or of `²`, which it takes for a number."""
    import os

    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name, "")
        if not (value.isascii() and value.isdigit() and len(value) <= 4):
            os.environ.pop(name, None)


def _drop_what_cannot_be_written() -> None:
    """Keeps Python from writing again at its end what a full disk has refused, with another exit code."""
    import os
    import sys

    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _ensure_utf8() -> None:
    """Starts Python again in its UTF-8 mode if the locale has another encoding.

    Names of files are bytes: hosts, git and rsync know them as such. Python decodes them as UTF-8 then, in a
    way that keeps any other byte.
    """
    import sys

    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        import os

        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _interrupted(words: list[str]) -> int:
    """Ctrl-C before the command began, or again while the first one was handled: with one small module."""
    import json
    import shlex
    import sys

    from orchestrator.cli.words import wants_json

    what, again = "interrupted", f"gpujob {shlex.join(words)}".strip()
    if wants_json(words):
        error = {"kind": "Interrupted", "what": what, "why": "", "next_step": again, "exit_code": 130}
        sys.stdout.write(json.dumps({"schema_version": 2, "error": error}) + "\n")
    else:
        sys.stderr.write(f"error: {what}\n  next: {again}\n")
    return 130
