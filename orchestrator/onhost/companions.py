"""Processes beside a run, which send its alerts and copy its results, and what they have recorded.

A companion gets its secrets over a pipe, leaves its parent, and outlives client and supervisor.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import Iterator, Mapping, NamedTuple, TypedDict

from orchestrator.core import jsontext
from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import files, interpreters, processes, records, run_queue
from orchestrator.onhost.records import State

_START_SECONDS = 10.0
_GONE = 5  # looks without a supervisor, after which it has ended without a record
_POLL = 1.0  # seconds between two looks at the queue
_ALERTS = 100  # number of latest deliveries that are returned


def start(
    mode: str, layout: Layout, run_id: str, secrets: Mapping[str, str], env: Mapping[str, str] | None = None
) -> str:
    """Starts the helper in this mode for a run; returns why it could not, empty where it could."""
    try:
        process = subprocess.Popen(
            interpreters.helper_command(mode, layout.root, run_id),
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


def begin() -> dict[str, str]:
    """Returns the secrets, in a process that `start` does not wait for."""
    secrets = jsontext.read_object(sys.stdin.buffer.readline()).all_texts()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return secrets


@contextlib.contextmanager
def only_one(path: str) -> Iterator[None]:
    """Waits until no other process has this lock; goes on at once where there are no locks, or no run."""
    with contextlib.ExitStack() as stack:
        if os.path.isdir(os.path.dirname(path)):
            with contextlib.suppress(files.NoLocks, OSError):
                stack.enter_context(files.lock(path))
        yield


def wait_for_turn(layout: Layout, run_id: str) -> None:
    """Returns once the run does not wait in the queue."""
    while run_queue.find(layout, run_id):
        time.sleep(_POLL)


class Pause(NamedTuple):
    """A pause after a failure, which ends early where the clock is set back."""

    started: float = 0.0
    seconds: float = 0.0

    def goes_on(self, now: float) -> bool:
        return 0 <= now - self.started < self.seconds


class Watched:
    """The run beside which a companion lives, as of the last look.

    `has_ended`: the run has, with or without a record of it. `is_over`: the companion must end too, since the
    run was deleted, or started again with companions of its own.
    """

    def __init__(self, paths: RunPaths) -> None:
        self.has_ended = False
        self.is_over = False
        self._paths = paths
        self._supervisor: processes.Identity | None = None
        self._gone = 0

    def look(self) -> State | None:
        """Returns the state; None if it cannot be read, or is another start's."""
        state = State.load(self._paths.state)
        if state is None:
            self.is_over = not os.path.isdir(self._paths.folder)
            return None
        self._supervisor = self._supervisor or state.supervisor
        if state.supervisor != self._supervisor:
            self.is_over = True
            return None
        is_supervised = processes.is_alive(state.supervisor, state.boot)
        self._gone = 0 if is_supervised or state.ended is not None else self._gone + 1
        self.has_ended = state.ended is not None or self._gone >= _GONE
        return state


class AlertFacts(TypedDict):
    """A delivery of alerts.json, without the alert's text."""

    event: str | None
    channel: str | None
    title: str | None
    t: float | None
    state: str | None
    attempts: int | None
    error: str | None


class MirrorFacts(TypedDict):
    """`state`: copying, complete or failed. `place`: the address. `count`, `bytes`: of the copied files."""

    state: str | None
    error: str | None
    place: str | None
    count: int | None
    bytes: int | None


def read_alerts(path: str) -> list[AlertFacts]:
    """Returns what alerts.json says of each delivery, without the alert's text."""
    deliveries = (files.load(path) or jsontext.Object()).children("deliveries")
    return [
        {
            "event": one.text("event"),
            "channel": one.text("channel"),
            "title": one.text("title"),
            "t": one.number("t"),
            "state": one.text("state"),
            "attempts": one.integer("attempts"),
            "error": one.text("error"),
        }
        for one in deliveries[-_ALERTS:]
    ]


def read_mirror(path: str) -> MirrorFacts | None:
    """Returns what mirror.json says, without its lists; None for a run that is not copied.

    A process that ended before it was done is reported as an `error`.
    """
    value = files.load(path)
    if value is None:
        return None
    state, error = value.text("state"), value.text("error")
    process = records.identity(value.child("process"))
    if state == "copying" and not processes.is_alive(process, value.text("boot")):
        error = "the process that copies has ended"
    return {
        "state": state,
        "error": error,
        "place": value.text("place"),
        "count": value.integer("count"),
        "bytes": value.integer("bytes"),
    }
