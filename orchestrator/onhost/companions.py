"""Processes beside a run, which send its alerts and copy its results: how they are started and begin.

A companion gets its secrets over a pipe, leaves its parent, and outlives client and supervisor.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any, Mapping

from orchestrator.core import jsontext
from orchestrator.core.layout import Layout
from orchestrator.onhost import entry, run_queue

_START_SECONDS = 10.0
_POLL = 1.0  # seconds between two looks at the queue


def start(
    mode: str, layout: Layout, run_id: str, secrets: Mapping[str, str], env: Mapping[str, str] | None = None
) -> str:
    """Starts the helper in this mode for a run; returns why it could not, empty where it could."""
    try:
        process = subprocess.Popen(
            entry.command(mode, layout.root, run_id),
            env=env,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        process.communicate(json.dumps(dict(secrets)).encode() + b"\n", _START_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        return type(error).__name__
    return ""


def begin() -> dict[str, Any]:
    """Returns the secrets, in a process that `start` does not wait for."""
    secrets = jsontext.parse_object(sys.stdin.buffer.readline())
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return secrets


def wait_for_turn(layout: Layout, run_id: str) -> None:
    """Returns once the run does not wait in the queue."""
    while run_queue.find(layout, run_id):
        time.sleep(_POLL)
