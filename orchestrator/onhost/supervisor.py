"""Runs in the tmux pane: starts the trainer, monitors it, and records how it ended.

The trainer writes stdout and stderr directly to the file `log`, so there is no process in between that could
die or block; the pane shows a `tail` of the file. No network and no credential is needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from typing import NamedTuple

from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import (
    files,
    gpus,
    instance_limits,
    processes,
    reserved_space,
    run_environment,
    run_facts,
    run_limits,
    signals,
)
from orchestrator.onhost.records import RunSpec, State

HEARTBEAT = 5.0  # seconds between two updates of state.json
GPU_INTERVAL = 15.0  # seconds between two samples of the GPUs
LEFTOVER_SECONDS = 5.0  # seconds until processes that the trainer left behind are killed
INTERRUPTED = 75  # exit code of a trainer that was stopped and wrote a checkpoint; may be resumed
FINAL = (0, 64, 65, 66, INTERRUPTED)  # exit codes after which there is no restart (docs/contract.md)
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK  # a named pipe must not block it
_NOT_FOUND = 127  # the exit code of a shell for a command that cannot be run


class Exit(NamedTuple):
    """How a trainer ended: by its exit code, or by a signal."""

    code: int | None
    signal: int | None

    def __str__(self) -> str:
        return "exit code %s" % self.code if self.code is not None else "signal %s" % self.signal


class Supervisor:
    """Runs the trainer of a run, and restarts it after failures up to the job's limit of restarts."""

    def __init__(self, root: str, run_id: str) -> None:
        self.layout = Layout(root, os.getuid())
        self.paths: RunPaths = self.layout.run(run_id)
        self.spec = RunSpec.load(self.paths.run_json) or RunSpec.parse({"id": run_id})
        self.state = _next_state(run_id, State.load(self.paths.state) or State())
        self.limits = run_limits.Watch(
            time.monotonic(), self.state.used_seconds, self.spec.max_hours, self.spec.idle_minutes
        )
        self.instance = instance_limits.InstanceWatch(
            instance_limits.find(), self.spec, instance_limits.Metadata().notice
        )
        self.reason: str | None = None
        self.own_gpus: list[gpus.Gpu] = []
        self.kill_at: float | None = None
        self.next_gpu_sample = 0.0
        self.tail_pid = 0
        self.log = os.open(self.paths.log, _APPEND, 0o600)
        self.environment = run_environment.prepare(self.paths, self.spec)

    def main(self) -> None:
        """Runs the trainer; returns once the run has ended and state.json records how."""
        signals.prepare()
        tail = self._show_log()
        self.tail_pid = tail.pid
        self._write_state()  # if even this cannot be written, nothing is started
        try:
            self._finish(self._run_attempts())
        finally:
            tail.kill()

    def _run_attempts(self) -> Exit:
        restarts = self.spec.max_restarts
        while True:
            end = self._run_attempt()
            self._end_leftovers()
            if self.reason or end.code in FINAL or restarts <= 0:
                return end
            restarts -= 1
            self._warn("attempt %d ended with %s; the next one starts" % (self.state.attempt, end))

    def _end_leftovers(self) -> None:
        """Ends processes that the trainer left behind, such as loader workers: SIGTERM, then SIGKILL."""
        left = self._members()
        processes.send(left, signal.SIGTERM)
        until = self.kill_at or time.monotonic() + LEFTOVER_SECONDS
        while left and time.monotonic() < until:
            time.sleep(0.05)
            signals.reap(0)
            left = self._members()
        processes.send(left, signal.SIGKILL)
        processes.kill_marked(self.spec.mark)
        signals.reap(0)

    def _run_attempt(self) -> Exit:
        self.state.attempt += 1
        self.environment["GPUJOB_ATTEMPT"] = str(self.state.attempt)
        try:
            child = subprocess.Popen(
                self.spec.argv,
                cwd=self._cwd(),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                start_new_session=True,
                preexec_fn=signals.restore,
            )
        except OSError as error:
            with contextlib.suppress(OSError):
                os.write(self.log, ("gpujob: %s: %s\n" % (self.spec.argv[0], error)).encode())
            self.reason = "not-started"
            return Exit(_NOT_FOUND, None)
        self.state.child = processes.identity(child.pid)
        self._heartbeat()
        status = self._wait(child.pid)
        # Popen must not wait for a pid that was reaped here.
        child.returncode = status
        if os.WIFSIGNALED(status):
            return Exit(None, os.WTERMSIG(status))
        return Exit(self._intended_code(os.WEXITSTATUS(status)), None)

    def _cwd(self) -> str:
        """Returns the trainer's working folder; for trainers of gpujob the run's folder, not the job's code.

        `python -m` imports from the working folder first, so files of the job's code would shadow modules.
        """
        return self.paths.folder if self.spec.trainer else self.paths.work

    def _intended_code(self, code: int) -> int:
        """Returns the exit code in the run's last event, if the trainer's launcher replaced it by another."""
        event = {} if code in FINAL else run_facts.last_event(self.paths.events)
        is_end = event.get("event") == "end" and event.get("code") in FINAL[1:]
        return int(event["code"]) if is_end else code

    def _is_done(self) -> bool:
        """Returns whether the run's last event reports that the training was completed."""
        event = run_facts.last_event(self.paths.events)
        return (event.get("event"), event.get("status")) == ("end", "done")

    def _members(self) -> list[int]:
        """Returns pids with the run's mark, and all descendants: a child may clear its environment."""
        pids = {*processes.with_mark(self.spec.mark), *processes.descendants(os.getpid())}
        return sorted(pids - {self.tail_pid})

    def _wait(self, pid: int) -> int:
        """Waits for the trainer's end, returns its status; handles signals, heartbeats and limits."""
        next_heartbeat = 0.0
        while True:
            status = signals.reap(pid)
            if status is not None:
                return status
            if time.monotonic() >= next_heartbeat:
                self._heartbeat()
                self._check_limits()
                next_heartbeat = time.monotonic() + HEARTBEAT
            if signals.wait(self._wait_seconds()) == signal.SIGTERM:
                self._on_sigterm()
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                processes.send(self._members(), signal.SIGKILL)

    def _wait_seconds(self) -> float:
        if self.kill_at is None:
            return HEARTBEAT
        return min(HEARTBEAT, max(0.05, self.kill_at - time.monotonic()))

    def _on_sigterm(self) -> None:
        """Stops the run: as `stopped` if stop.json exists, else as `preempted` (the machine shuts down)."""
        request = files.load_json(self.paths.stop) or {}
        self._stop("stopped" if request else "preempted", now=bool(request.get("now")))

    def _stop(self, reason: str, now: bool = False) -> None:
        """Sends SIGTERM to the trainer; SIGKILL to the whole run follows after the grace period, or `now`."""
        self.reason = self.reason or reason
        if self.kill_at is None:
            processes.send([self.state.child["pid"]] if self.state.child else [], signal.SIGTERM)
            self.kill_at = time.monotonic() + self.spec.grace_seconds
        if now:
            self.kill_at = time.monotonic()

    def _check_limits(self) -> None:
        activity = run_limits.Activity(
            files.size(self.paths.log),
            files.size(self.paths.events),
            _mtime(self.layout.transfer),
            self.own_gpus,
        )
        now = time.monotonic()
        reason = self.limits.verdict(now, activity)
        verdict = self.instance.verdict(time.time(), self.limits.idle_seconds(now))
        if verdict is None and reason is not None:
            verdict = instance_limits.Verdict(reason, "the run's limit is reached: %s" % reason)
        if verdict and self.kill_at is None:
            self._warn(verdict.message)
            self._stop(verdict.reason)

    def _heartbeat(self) -> None:
        """Writes state.json.

        If the disk is full, the run and its limits continue and the next heartbeat tries again.
        """
        with contextlib.suppress(OSError):
            self._write_state()

    def _write_state(self) -> None:
        if time.monotonic() >= self.next_gpu_sample:
            sample = gpus.sample() or []
            self.state.gpus = [vars(gpu) for gpu in sample]
            self.own_gpus = gpus.used_by(self._members(), sample)
            self.next_gpu_sample = time.monotonic() + GPU_INTERVAL
        if self.state.child:
            mapped = processes.shared_memory(self._members())
            self.state.shared_memory = sorted(mapped.union(self.state.shared_memory))[:1000]
        self.state.used_seconds = self.limits.used_seconds(time.monotonic())
        self.state.heartbeat = time.time()
        files.write_json(self.paths.state, self.state.to_json())

    def _finish(self, end: Exit) -> None:
        request = files.load_json(self.paths.stop) or {}
        if self.reason is None:
            self.reason = "preempted" if end.code == INTERRUPTED else "exit"
        elif end.code == 0 and self._is_done():
            self.reason = "exit"  # the training was completed before the stop request arrived
        with contextlib.suppress(OSError):
            os.rmdir(self.environment["TMPDIR"])
        with contextlib.suppress(OSError):
            os.fsync(self.log)
        self.state.child = None
        self.state.ended = self.state.heartbeat = time.time()
        self.state.used_seconds = self.limits.used_seconds(time.monotonic())
        self.state.exit_code, self.state.signal = end
        self.state.reason = self.reason
        self.state.by = request.get("by") if self.reason == "stopped" else None
        self.state.log_bytes = os.fstat(self.log).st_size
        self._write_end()

    def _write_end(self) -> None:
        """Writes state.json, retrying for ever: a run without a recorded end would be reported as lost."""
        while True:
            try:
                return reserved_space.write_json(self.paths, self.paths.state, self.state.to_json())
            except OSError:
                signals.wait(HEARTBEAT)

    def _show_log(self) -> subprocess.Popen[bytes]:
        """Starts a `tail` of the log for attached terminals; it ends with this process, receives no keys."""
        words = ["tail", "-n", "2000", "--pid=%d" % os.getpid(), "-F", self.paths.log]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, preexec_fn=signals.unblock)

    def _warn(self, message: str) -> None:
        """Appends a warning to the run's events, unless that cannot be done, as on a full disk."""
        line = json.dumps({"v": 1, "t": time.time(), "event": "warning", "message": message})
        with contextlib.suppress(OSError):
            handle = os.open(self.paths.events, _APPEND, 0o600)
            with contextlib.closing(os.fdopen(handle, "ab", buffering=0)) as events:
                events.write(line.encode() + b"\n")


def _next_state(run_id: str, before: State) -> State:
    """Returns the first state of a new supervisor, which continues the counters of the state `before`."""
    now = time.time()
    return State(
        id=run_id,
        boot=processes.boot(),
        supervisor=processes.identity(os.getpid()),
        attempt=before.attempt,
        first_started=before.first_started or now,
        started=now,
        heartbeat=now,
        used_seconds=before.used_seconds,
        shared_memory=before.shared_memory,
    )


def _mtime(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
