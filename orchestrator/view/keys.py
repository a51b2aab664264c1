"""Single keys from a terminal between two refreshes of a screen."""

from __future__ import annotations

import contextlib
import os
import re
import select
import time
from collections.abc import Iterator

from orchestrator.context import Context

_KEY = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O.)?|.", re.DOTALL)


class Keys:
    """`wait` returns the next key, or nothing after some seconds. Without a terminal it only waits.

    Keys that arrive together are returned one after the other; an arrow is its escape sequence.
    """

    def __init__(self, ctx: Context, descriptor: int | None) -> None:
        self._ctx = ctx
        self._descriptor = descriptor
        self._waiting: list[str] = []

    def wait(self, seconds: float) -> str:
        if self._descriptor is None:
            self._ctx.sleep(seconds)
            return ""
        if self._waiting:
            return self._waiting.pop(0)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not select.select([self._descriptor], [], [], left)[0]:
                return ""
            pressed = os.read(self._descriptor, 64)
            if not pressed:  # the terminal is gone
                self._descriptor = None
                return ""
            self._waiting = _KEY.findall(pressed.decode("utf-8", errors="replace"))
            return self._waiting.pop(0)
        return ""


@contextlib.contextmanager
def opened(ctx: Context) -> Iterator[Keys]:
    """Keys without Enter, and without an echo, until the block ends."""
    if not ctx.stdin.isatty():
        yield Keys(ctx, None)
        return
    try:
        import termios  # noqa: PLC0415
        import tty  # noqa: PLC0415

        descriptor = ctx.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, ValueError, termios.error):
        yield Keys(ctx, None)
        return
    try:
        tty.setcbreak(descriptor)
        yield Keys(ctx, descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
