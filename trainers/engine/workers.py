"""Signals and exit of the helper processes of a run (data loaders). Standard library only."""

import multiprocessing
import os
import signal
import sys
from typing import NoReturn


def let_the_parent_decide(worker: int = 0) -> None:
    """Ignore SIGTERM and SIGINT in a helper process.

    A stop is sent to every process of a run; the main process still needs its helpers for the last step.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_at_once(code: int) -> NoReturn:
    """Kill the helper processes and exit this process immediately with `code`.

    A normal exit would wait for the helpers, which ignore SIGTERM, and for the other processes of the
    group, so a failed run would keep its GPU allocated.
    """
    for helper in multiprocessing.active_children():
        helper.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
