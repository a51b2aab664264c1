"""Progress of a transfer on a terminal: bytes, rate, time to go."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from orchestrator.context import Context
from orchestrator.core.text import duration, size

__all__ = ["bar", "size"]
_EVERY = 0.1
Tell = Callable[[int], None]


@contextlib.contextmanager
def bar(ctx: Context, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many bytes moved; silent where stderr is no terminal."""
    if not ctx.shows_progress:
        yield lambda count: None
        return
    started, moved, shown = ctx.now(), 0, 0.0

    def tell(count: int) -> None:
        nonlocal moved, shown
        moved += count
        now = ctx.now()
        if now - shown < _EVERY and moved < total:
            return
        shown = now
        rate = moved / max(now - started, 1e-3)
        left = duration((total - moved) / rate) if rate else "?"
        ctx.redraw(f"  {size(moved)} of {size(total)}, {size(rate)}/s, {left} to go")

    try:
        yield tell
    finally:
        ctx.redraw("")
