"""Why a process of the trainers failed: its last line; of a traceback, the error and its place."""

from __future__ import annotations

import contextlib
import re

from orchestrator import files
from orchestrator.context import Context
from orchestrator.errors import GpujobError

_FRAME = re.compile(r'^ *File "(.*/)?(trainers/.+)", line (\d+), in ', re.MULTILINE)
_TRACEBACK = "Traceback (most recent call last):"


def reason(printed: str) -> str:
    """`KeyError: 'x' (trainers/linear/trainer.py:50)`, or the last line of what was printed on stderr."""
    lines = [line for line in printed.splitlines() if line.strip()]
    last = lines[-1] if lines else "it printed nothing"
    frames = list(_FRAME.finditer(printed.rpartition(_TRACEBACK)[2]))
    return f"{last} ({frames[-1][2]}:{frames[-1][3]})" if frames else last


def check_failed(ctx: Context, printed: str) -> GpujobError:
    """The error for a check that gave no report, by what it printed on stderr."""
    return GpujobError("the trainer's check failed", reason(printed), next_step(ctx, printed))


def next_step(ctx: Context, printed: str) -> str:
    """Keeps a traceback in the log of gpujob and names that; without one, `gpujob doctor`."""
    if not _FRAME.search(printed):
        return "gpujob doctor"
    with contextlib.suppress(OSError), files.open_to_append(ctx.log_file) as log:
        log.write(f"{printed.rstrip()}\n\n".encode("utf-8", "surrogateescape"))
    return f"the traceback is in {ctx.log_file}"
