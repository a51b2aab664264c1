"""Ctrl-C: what was cut, what goes on without gpujob and costs, and the command that continues."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from orchestrator.context import Context
from orchestrator.core.shell import show
from orchestrator.errors import Exit, GpujobError

_SHOWN = 3


class Interrupted(GpujobError):
    """Ctrl-C. The same command continues, unless it has started its run already."""

    exit_code = Exit.INTERRUPTED


class Cut(Exception):
    """Ctrl-C within Typer, which would end without a word."""


@contextlib.contextmanager
def passed_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Cut from None


def describe(ctx: Context, words: list[str]) -> Interrupted:
    """What the client knows at this moment; no host is asked."""
    from orchestrator.commands import going

    what = "interrupted" + (f"; cut: {ctx.step}" if ctx.step else "")
    return Interrupted(what, _shown(going.describe(ctx)), f"gpujob {show(words)}".strip())


def _shown(going: list[str]) -> str:
    if not going:
        return "no run and no instance is known to be going"
    more = f" and {len(going) - _SHOWN} more (gpujob status)" if going[_SHOWN:] else ""
    return f"still going: {', '.join(going[:_SHOWN])}{more}"
