"""What processes of a run that only help another one have in common. Standard library only."""

import multiprocessing
import os
import signal
import sys
from typing import NoReturn


def let_the_parent_decide(worker: int = 0) -> None:
    """A stop reaches every process of a run; a helper that died of it would fail the last step."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_at_once(code: int) -> NoReturn:
    """End this process and those that help it, whatever they are at.

    An interpreter that ends by itself waits for its helpers, which ignore the SIGTERM that it sends them,
    and for the other processes of a group: a run that failed would hold its GPU until somebody looks.
    """
    for helper in multiprocessing.active_children():
        helper.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
