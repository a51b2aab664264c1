"""Runs in the tmux pane: starts the trainer, monitors it, and records how it ended.

The trainer writes stdout and stderr directly to the file `log`, so there is no process in between that could
die or block; the pane shows a `tail` of the file. No network and no credential is needed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Callable, TypeVar

from orchestrator.core.jsontext import Object
from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import (
    containers,
    elsewhere,
    engines,
    exits,
    files,
    gpus,
    instance_limits,
    launching,
    processes,
    reserved_space,
    run_environment,
    run_limits,
    run_processes,
    signals,
)
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.exits import Exit
from orchestrator.onhost.journal import Journal
from orchestrator.onhost.records import RunSpec, State
from orchestrator.onhost.shared_memory import SharedMemory

HEARTBEAT = 5.0  # seconds between two updates of state.json
DETACH_SECONDS = 1.0  # seconds after which processes that outlive their command are the run
LEFTOVER_SECONDS = 5.0  # seconds until processes that the trainer left behind are killed

T = TypeVar("T")


class Supervisor:
    """Runs the trainer of a run, and restarts it after failures up to the job's limit of restarts."""

    def __init__(
        self, root: str, run_id: str, umask: int = 0o077, restarts: int = 0, after: str | None = None
    ) -> None:
        """`after`: the run's last start when this one was decided. Raises Overtaken if another followed."""
        self.layout = Layout(root)
        self.umask = umask
        self.paths: RunPaths = self.layout.run(run_id)
        self.lock = elsewhere.hold(self.paths)
        launching.require_latest(self.paths, after)
        self.spec = RunSpec.load(self.paths.run_json) or RunSpec.parse({"id": run_id})
        self.state = launching.next_state(run_id, State.load(self.paths.state) or State())
        self.state.restarts = restarts
        self.state.events_bytes = files.size(self.paths.events)
        self.limits = run_limits.Watch(
            time.monotonic(), self.state.used_seconds, self.spec.max_hours, self.spec.idle_minutes
        )
        self.instance = instance_limits.InstanceWatch(
            instance_limits.find(), self.spec, instance_limits.Metadata().notice
        )
        self.reason: str | None = None
        self.gpus = gpus.GpuWatch()
        self.shared_memory = SharedMemory(self.state.shared_memory)
        self.kill_at: float | None = None
        self.queue = launching.QueueWatch(self.layout)
        self.failure: int | None = None
        self.is_detached = False
        self.container: containers.Container | None = None
        self.journal = Journal(self.paths)
        self.log = self.journal.log
        self.environment = run_environment.prepare(self.paths, self.spec)

    def main(self) -> None:
        """Runs the trainer; returns once the run has ended and state.json records how."""
        signals.prepare(adopts=not self.spec.image)
        tail = self.journal.show()
        self._write_state()  # if even this cannot be written, nothing is started
        try:
            self._finish(self._run_attempts())
        finally:
            if tail:
                tail.kill()
            launching.advance_later(self.layout)

    def _run_attempts(self) -> Exit:
        while True:
            end = self._run_attempt()
            self._end_leftovers()
            if self.reason or end.code in exits.FINAL or self.state.restarts >= self.spec.max_restarts:
                return end
            self.state.restarts += 1
            self.journal.warn("attempt %d ended with %s; the next one starts" % (self.state.attempt, end))

    def _end_leftovers(self) -> None:
        """Ends processes that the trainer left behind, such as loader workers: SIGTERM, then SIGKILL."""
        left = self._members()
        if left and self.reason is None:
            self.journal.say("ending what the command left: %s" % run_processes.text(left))
            self.state.ended_processes = [processes.describe(pid) for pid in left]
        processes.send(left, signal.SIGTERM)
        until = self.kill_at or time.monotonic() + LEFTOVER_SECONDS
        while left and time.monotonic() < until:
            time.sleep(0.05)
            signals.reap()
            left = self._members()
        processes.kill(self._members, LEFTOVER_SECONDS)
        signals.reap()
        self._kill()

    def _kill(self) -> None:
        """Sends SIGKILL to the run; records processes that this user may not signal."""
        if self.container:
            self.container.remove()
        refused = processes.send(self._members(), signal.SIGKILL)
        if refused and not self.state.left:
            self.journal.warn("this user may not end %s" % run_processes.text(refused))
        self.state.left = [processes.describe(pid) for pid in refused]
        self._heartbeat()

    def _run_attempt(self) -> Exit:
        self.state.attempt += 1
        self.journal.mark(self.state.attempt)
        self.environment["GPUJOB_ATTEMPT"] = str(self.state.attempt)
        try:
            child = self._start()
        except (OSError, Refused) as error:
            self.journal.say("%s: %s" % (self.spec.argv[0], error))
            self.reason = "not-started"
            return Exit(exits.NOT_FOUND, None)
        self.state.child = processes.identity(child.pid)
        self._heartbeat()
        status = self._wait(lambda: signals.reap().get(child.pid))
        # Popen must not wait for a pid that was reaped here.
        child.returncode = status
        if status == 0 and self._goes_on():
            status = self._wait(self._detached_status)
        return exits.from_status(self.paths, status)

    def _start(self) -> subprocess.Popen[bytes]:
        """Starts the command, in a container if the run has an image. Raises OSError or Refused."""
        launch = containers.Launch(self.spec.argv, self.environment)
        if self.spec.image:
            self.container = containers.Container(engines.find(), self.spec.id)
            launch = self.container.launch(self.layout, self.paths, self.spec, self.environment)
        return launch.start(
            cwd=self._cwd(),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            preexec_fn=self._become_trainer,
        )

    def _become_trainer(self) -> None:
        """Records the attempt, and restores what the user's own processes start with.

        In the child: an attempt is recorded if and only if its command starts, whenever the supervisor is
        killed. The child shares the lock on the run until then, so no other supervisor begins meanwhile.
        The secrets are kept until then, for a supervisor that starts the run instead of this one.
        """
        with contextlib.suppress(OSError):  # a run starts on a full disk, too
            files.write_json(self.paths.state, vars(self.state))
        run_environment.forget_secrets(self.paths)
        signals.restore()
        os.umask(self.umask)

    def _goes_on(self) -> bool:
        """Returns whether the command started the training in the background: it ended, and others run on."""
        if self.spec.trainer or self.spec.kills_detached or self.reason:
            return False
        if processes.wait_until(lambda: not (signals.reap() or self._members()), DETACH_SECONDS):
            return False
        left = self._members()
        self.failure, self.is_detached = None, True
        message = "the command has ended; the run goes on until what it started has: %s"
        self.journal.say(message % run_processes.text(left))
        self.journal.warn(message % run_processes.text(left))
        self.state.child = processes.identity(left[0]) if left else None
        return bool(left)

    def _detached_status(self) -> int | None:
        """Returns the wait status of processes in the background once all have ended: the first failure."""
        failures = [status for status in signals.reap().values() if status]
        if self.failure is None and failures:
            self.failure = failures[0]
        return None if self._members() else self.failure or 0

    def _cwd(self) -> str:
        """Returns the trainer's working folder; for trainers of gpujob the run's folder, not the job's code.

        `python -m` imports from the working folder first, so files of the job's code would shadow modules.
        """
        return self.paths.folder if self.spec.trainer else self.paths.work

    def _members(self) -> list[int]:
        return run_processes.find(self.spec.mark, self.state, log=self.paths.log)

    def _wait(self, find_status: Callable[[], T | None]) -> T:
        """Waits until there is a status, returns it; handles signals, heartbeats and limits."""
        next_heartbeat = 0.0
        while True:
            status = find_status()
            if status is not None:
                return status
            if time.monotonic() >= next_heartbeat:
                self._heartbeat()
                self._check_limits()
                self.queue.look()
                next_heartbeat = time.monotonic() + HEARTBEAT
            if signals.wait(self._wait_seconds()) == signal.SIGTERM:
                self._on_sigterm()
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                self._kill()

    def _wait_seconds(self) -> float:
        if self.kill_at is None or self.state.left:
            return HEARTBEAT
        return min(HEARTBEAT, max(0.05, self.kill_at - time.monotonic()))

    def _on_sigterm(self) -> None:
        """Stops the run: as `stopped` if stop.json exists, else as `preempted` (the machine shuts down)."""
        request = files.load(self.paths.stop)
        self._stop("stopped" if request else "preempted", now=bool(request and request.flag("now")))

    def _stop(self, reason: str, now: bool = False) -> None:
        """Sends SIGTERM to the trainer; SIGKILL to the whole run follows after the grace period, or `now`.

        The trainer alone is asked, since it ends its workers itself; without it, all are.
        """
        self.reason = self.reason or reason
        if self.kill_at is None:
            child = self.state.child
            is_trainer = child and not self.is_detached
            processes.send([child["pid"]] if child and is_trainer else self._members(), signal.SIGTERM)
            self.kill_at = time.monotonic() + self.spec.grace_seconds
        if now:
            self.kill_at = time.monotonic()

    def _check_limits(self) -> None:
        activity = run_limits.Activity(
            files.size(self.paths.log),
            files.size(self.paths.events),
            files.mtime(self.layout.transfer),
            self.gpus.own,
        )
        now = time.monotonic()
        reason = self.limits.verdict(now, activity)
        verdict = self.instance.verdict(time.time(), self.queue.is_empty and self.limits.idle_seconds(now))
        if verdict is None and reason is not None:
            verdict = instance_limits.Verdict(reason, "the run's limit is reached: %s" % reason)
        if verdict and self.kill_at is None:
            self.journal.warn(verdict.message)
            self._stop(verdict.reason)

    def _heartbeat(self) -> None:
        """Writes state.json; on a full disk the run and its limits continue, and the next one tries again."""
        with contextlib.suppress(OSError):
            self._write_state()
        self.journal.mark(self.state.attempt)

    def _write_state(self) -> None:
        self.gpus.look(self.state, self._members)
        if self.state.child:
            if self.container:
                self.state.processes += self.container.identities()
            members = self._members()
            mapped = self.shared_memory.find(members)
            self.state.shared_memory = sorted(mapped.union(self.state.shared_memory))[:1000]
            self.state.processes = run_processes.identities(members)
        self.state.used_seconds = self.limits.used_seconds(time.monotonic())
        self.state.heartbeat = time.time()
        files.write_json(self.paths.state, vars(self.state))

    def _finish(self, end: Exit) -> None:
        request = files.load(self.paths.stop) or Object()
        if self.reason is None:
            self.reason = "preempted" if end.code == exits.INTERRUPTED else "exit"
        elif end.code == 0 and exits.is_done(self.paths):
            self.reason = "exit"  # the training was completed before the stop request arrived
        with contextlib.suppress(OSError):
            os.rmdir(self.environment["TMPDIR"])
        run_environment.forget_secrets(self.paths)
        self.state.child = None
        self.state.ended = self.state.heartbeat = time.time()
        self.state.used_seconds = self.limits.used_seconds(time.monotonic())
        self.state.exit_code, self.state.signal = end
        self.state.reason = self.reason
        self.state.by = request.text("by") if self.reason == "stopped" else None
        self.state.log_bytes = self.journal.complete()
        reserved_space.write_end(self.paths, vars(self.state), lambda: signals.wait(HEARTBEAT))
