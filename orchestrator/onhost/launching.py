"""Starts the supervisor of a run in the run's tmux session: one for each start, whoever is killed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time

from orchestrator.core import tmux
from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import elsewhere, interpreters, private, processes, run_queue
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import State

_QUEUE_INTERVAL = 60.0  # seconds
_START_TIMEOUT = 15.0  # seconds until a supervisor must have written its first state
_PAUSES = (0.05, 0.2, 0.5, 1.0)  # seconds before tmux is asked again
_SERVER_ENDED = ("server exited", "lost server", "no server running", "error connecting")
# Variables that are passed to the tmux server. A run's own variables are read from its run.json.
_FOR_TMUX = (
    *("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "XDG_RUNTIME_DIR"),
    *("DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_HOST"),  # where containers are started
    *("AWS_EC2_METADATA_SERVICE_ENDPOINT", "GPUJOB_INSTANCE_FILES"),  # for the supervisor's InstanceLimits
)


def launch(layout: Layout, run_id: str, restarts: int, umask: int) -> None:
    """Starts the supervisor; returns once it has started the trainer. Raises Refused if that fails.

    The supervisor is told which start was the last one. If another one has begun since, it does nothing: so a
    launch that was killed may be repeated, although its supervisor may still appear.
    """
    version = tmux_version()
    if version is None:
        raise Refused("no-tmux", "tmux is not installed on this host")
    if not tmux.is_usable(version):
        raise Refused("no-tmux", "%s is too old; 2.6 is the oldest that works" % version)
    paths = layout.run(run_id)
    before = State.load(paths.state)
    _prepare_tmux(layout)
    kill_session(layout, run_id)
    after = run_queue.last_start(paths)
    command = interpreters.helper_command(
        "supervise", layout.root, run_id, "%o" % umask, str(restarts), after
    )
    _new_session(layout, run_id, command)
    processes.wait_until(lambda: _is_decided(State.load(paths.state), before), _START_TIMEOUT)
    if not _has_started(State.load(paths.state), before):
        raise Refused("no-supervisor", "the supervisor did not start within %d s" % _START_TIMEOUT)


def _new_session(layout: Layout, run_id: str, command: list[str]) -> None:
    """Starts `command` in a session of tmux; raises Refused if tmux does not start it.

    tmux's server ends with its last session. Whoever connects at that moment is turned away, as a run of the
    queue is that follows another at once, and connects again.
    """
    server = tmux.server(layout.tmux_socket, layout.tmux_conf)
    for pause in (*_PAUSES, None):
        process = subprocess.run(
            tmux.new(server, tmux.session_name(run_id), layout.root, command),
            env={name: os.environ[name] for name in _FOR_TMUX if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if process.returncode == 0:
            return
        reason = process.stdout.decode(errors="replace").strip() or "tmux gave no reason"
        if pause is None or not reason.startswith(_SERVER_ENDED):
            raise Refused("tmux", reason)
        time.sleep(pause)


def tmux_version() -> str | None:
    """Returns the output of `tmux -V`; None if tmux is not installed."""
    return processes.output(["tmux", "-V"], timeout=10).strip() or None


def kill_session(layout: Layout, run_id: str) -> None:
    processes.output(tmux.kill(tmux.server(layout.tmux_socket), tmux.session_name(run_id)))


def require_latest(paths: RunPaths, after: str | None) -> None:
    """Raises Overtaken if the run was started again since `after` (see run_queue.last_start)."""
    if after is not None and run_queue.last_start(paths) != after:
        raise Overtaken


class Overtaken(Exception):
    """Another supervisor has begun, or the run was removed from the queue: this one must not start."""


def next_state(run_id: str, before: State) -> State:
    """Returns the first state of a new supervisor, which continues the counters of the state `before`."""
    now = time.time()
    return elsewhere.new_state(run_id).replace(
        supervisor=processes.identity(os.getpid()),
        attempt=before.attempt,
        first_started=before.first_started or now,
        started=now,
        heartbeat=now,
        used_seconds=before.used_seconds,
        gpu_use=before.gpu_use,
        shared_memory=before.shared_memory,
    )


def advance_later(layout: Layout) -> None:
    """Starts a process that starts what waits in the queue, if anything does; does not wait for it.

    It stays in the caller's session, by which it is told from the processes of a run.
    """
    if run_queue.is_empty(layout):
        return
    with contextlib.suppress(OSError):
        subprocess.Popen(
            interpreters.helper_command("advance", layout.root),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


class QueueWatch:
    """The queue, as the supervisor of a live run sees it: GPUs that no run of ours uses become free too."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._next = time.monotonic() + _QUEUE_INTERVAL

    def look(self) -> None:
        """Starts, once a minute, what waits and has become possible."""
        if time.monotonic() >= self._next:
            advance_later(self._layout)
            self._next = time.monotonic() + _QUEUE_INTERVAL

    @property
    def is_empty(self) -> bool:
        return run_queue.is_empty(self._layout)


def _has_started(state: State | None, before: State | None) -> bool:
    """Returns whether a new supervisor has written the state, and its trainer runs, waits or has ended."""
    is_new = state is not None and (before is None or state.supervisor != before.supervisor)
    return bool(state and is_new and (state.child or state.ended or state.group))


def _is_decided(state: State | None, before: State | None) -> bool:
    """Returns whether the start has succeeded, or its supervisor has died."""
    if state is None or (before is not None and state.supervisor == before.supervisor):
        return False
    return _has_started(state, before) or not processes.is_alive(state.supervisor, state.boot)


def _prepare_tmux(layout: Layout) -> None:
    folder = os.path.dirname(layout.tmux_socket)
    if folder != layout.root:  # which the user may have made, as a link to another disk
        private.make_folder(folder)
    with open(layout.tmux_conf, "w") as handle:
        handle.write(tmux.CONF)
