"""Keeps trying while EC2 has no capacity."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TypeVar

from orchestrator.core.text import duration
from orchestrator.errors import GpujobError
from orchestrator.instances import errors
from orchestrator.instances.cloud import Account

T = TypeVar("T")
_PAUSES = (30.0, 60.0, 120.0, 300.0)  # seconds between two attempts; the last one is repeated


def wait(account: Account, hours: float, attempt: Callable[[], T]) -> T:
    """Repeats an attempt for some hours while EC2 has no capacity for it."""
    ctx = account.ctx
    until = ctx.now() + hours * 3600
    pauses = itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1]))
    while True:
        try:
            return attempt()
        except GpujobError as error:
            left = until - ctx.now()
            if left <= 0 or not errors.is_shortage(error):
                raise
            pause = min(next(pauses), left)
            ctx.talk(f"{error.what}; trying again in {duration(pause)}, for {duration(left)} at most")
            ctx.sleep(pause)
