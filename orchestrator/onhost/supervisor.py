"""Runs in the tmux pane: starts the trainer, watches it, and writes how it ended.

The trainer's stdout and stderr are the file `log` itself, so nothing stands between them that could
die or block; the pane shows a `tail` of it. No network and no credential is needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from typing import Any

from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import (
    ballast,
    box,
    boxwatch,
    environment,
    gpus,
    jsonfile,
    limits,
    look,
    proc,
    signals,
)

BEAT = 5.0  # seconds between heartbeats
GPU_EVERY = 15.0
LEFTOVERS = 5.0  # seconds for processes that the trainer left behind
FINAL = (0, 64, 65, 66, 75)  # docs/contract.md: codes after which no restart can help


class Supervisor:
    """One attempt after another, until an end that counts."""

    def __init__(self, root: str, run_id: str) -> None:
        self.layout = Layout(root, os.getuid())
        self.paths: RunPaths = self.layout.run(run_id)
        self.spec: dict[str, Any] = jsonfile.load(self.paths.run_json) or {}
        before = jsonfile.load(self.paths.state) or {}
        self.state: dict[str, Any] = {
            "v": 1,
            "id": run_id,
            "boot": proc.boot(),
            "supervisor": proc.identity(os.getpid()),
            "child": None,
            "attempt": before.get("attempt", 0),
            "first_started": before.get("first_started") or time.time(),
            "started": time.time(),
            "heartbeat": time.time(),
            "used_seconds": before.get("used_seconds", 0.0),
            "gpus": [],
            "shared_memory": before.get("shared_memory", []),
            "ended": None,
            "exit_code": None,
            "signal": None,
            "reason": None,
            "by": None,
            "log_bytes": None,
        }
        bounds = self.spec.get("limits", {})
        self.watch = limits.Watch(
            time.monotonic(),
            self.state["used_seconds"],
            bounds.get("max_hours"),
            bounds.get("idle_minutes"),
        )
        self.grace = float(bounds.get("grace_seconds", 60))
        self.box = boxwatch.BoxWatch(
            box.here(), bounds.get("idle_minutes"), self.grace, box.Metadata().notice
        )
        self.reason: str | None = None
        self.busy_by_us: list[dict[str, Any]] = []
        self.kill_at: float | None = None
        self.next_gpus = 0.0
        self.view_pid = 0
        self.log = os.open(self.paths.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.environment = environment.of(self.paths, self.spec)

    def main(self) -> None:
        """Blocks until the run has ended and state.json says how."""
        signals.settle()
        view = self._view()
        self.view_pid = view.pid
        self._tell()  # where even this cannot be written, nothing is begun
        try:
            code, by_signal = self._attempts()
            self._finish(code, by_signal)
        finally:
            view.kill()

    def _attempts(self) -> tuple[int | None, int | None]:
        restarts = int(self.spec.get("restart", {}).get("max", 0))
        while True:
            code, by_signal = self._attempt()
            self._end_leftovers()
            if self.reason or code in FINAL or restarts <= 0:
                return code, by_signal
            restarts -= 1
            ended = "exit code %s" % code if code is not None else "signal %s" % by_signal
            self._event("attempt %d ended with %s; the next one starts" % (self.state["attempt"], ended))

    def _end_leftovers(self) -> None:
        """What the trainer left behind (a script's child, loader workers) may end by itself first."""
        left = self._members()
        proc.send(left, signal.SIGTERM)
        until = self.kill_at or time.monotonic() + LEFTOVERS
        while left and time.monotonic() < until:
            time.sleep(0.05)
            signals.reap(0)
            left = self._members()
        proc.send(left, signal.SIGKILL)
        proc.kill_marked(self.spec["mark"])
        signals.reap(0)

    def _attempt(self) -> tuple[int | None, int | None]:
        """(exit code, None) or (None, signal) of one trainer."""
        self.state["attempt"] += 1
        self.environment["GPUJOB_ATTEMPT"] = str(self.state["attempt"])
        try:
            child = subprocess.Popen(
                self.spec["argv"],
                cwd=self._cwd(),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                start_new_session=True,
                preexec_fn=signals.as_before,
            )
        except OSError as error:
            with contextlib.suppress(OSError):
                os.write(self.log, ("gpujob: %s: %s\n" % (self.spec["argv"][0], error)).encode())
            self.reason = "not-started"
            return 127, None
        self.state["child"] = proc.identity(child.pid)
        self._beat()
        status = self._wait(child.pid)
        # Popen must not wait for a pid that was reaped here.
        child.returncode = status
        if os.WIFSIGNALED(status):
            return None, os.WTERMSIG(status)
        return self._meant(os.WEXITSTATUS(status)), None

    def _cwd(self) -> str:
        """For a trainer of ours the run's folder: -m imports from the current folder first, and files of
        the job's code would stand in for modules."""
        return self.paths.folder if self.spec.get("trainer") else self.paths.work

    def _meant(self, code: int) -> int:
        """The code that the run's last event tells, where its launcher turned it into another."""
        if code in FINAL:
            return code
        for line in look.telling_events(self.paths.events)[-1:]:
            event = json.loads(line)
            if event["event"] == "end" and event.get("code") in FINAL[1:]:
                return int(event["code"])
        return code

    def _said_done(self) -> bool:
        last = [json.loads(line) for line in look.telling_events(self.paths.events)[-1:]]
        return [(event["event"], event.get("status")) for event in last] == [("end", "done")]

    def _members(self) -> list[int]:
        """What carries the mark, and our descendants, since a child may clear its environment."""
        ours = set(proc.marked(self.spec["mark"])).union(proc.descendants(os.getpid()))
        return sorted(ours - {self.view_pid})

    def _wait(self, pid: int) -> int:
        next_beat = 0.0
        while True:
            status = signals.reap(pid)
            if status is not None:
                return status
            if time.monotonic() >= next_beat:
                self._beat()
                self._look_at_limits()
                next_beat = time.monotonic() + BEAT
            got = signal.sigtimedwait(signals.OURS, self._patience())
            if got is not None and got.si_signo == signal.SIGTERM:
                self._on_term()
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                proc.send(self._members(), signal.SIGKILL)

    def _patience(self) -> float:
        if self.kill_at is None:
            return BEAT
        return min(BEAT, max(0.05, self.kill_at - time.monotonic()))

    def _on_term(self) -> None:
        """A stop (stop.json says by whom), or a notice of the machine's end."""
        request = jsonfile.load(self.paths.stop) or {}
        self._ask_to_stop("stopped" if request else "preempted", now=bool(request.get("now")))

    def _ask_to_stop(self, reason: str, now: bool = False) -> None:
        self.reason = self.reason or reason
        if self.kill_at is None:
            proc.send([self.state["child"]["pid"]], signal.SIGTERM)
            self.kill_at = time.monotonic() + self.grace
        if now:
            self.kill_at = time.monotonic()

    def _look_at_limits(self) -> None:
        seen = limits.Activity(
            _size(self.paths.log),
            _size(self.paths.events),
            _mtime(self.layout.transfer),
            self.busy_by_us,
        )
        now = time.monotonic()
        verdict = self.watch.verdict(now, seen)
        verdict = self.box.verdict(time.time(), self.watch.idle_for(now)) or verdict
        if verdict and self.kill_at is None:
            self._event(self.box.said or "the run's limit is reached: %s" % verdict)
            self._ask_to_stop(verdict)

    def _beat(self) -> None:
        """A disk that is full for a moment ends neither run nor limits: the next beat tries again."""
        with contextlib.suppress(OSError):
            self._tell()

    def _tell(self) -> None:
        if time.monotonic() >= self.next_gpus:
            self.state["gpus"] = gpus.sample()
            self.busy_by_us = gpus.held_by(self.state["gpus"], self._members())
            self.next_gpus = time.monotonic() + GPU_EVERY
        if self.state["child"]:
            mapped = proc.shared_memory(self._members())
            self.state["shared_memory"] = sorted(mapped.union(self.state["shared_memory"]))[:1000]
        self.state["used_seconds"] = self.watch.used(time.monotonic())
        self.state["heartbeat"] = time.time()
        jsonfile.replace(self.paths.state, self.state)

    def _finish(self, code: int | None, by_signal: int | None) -> None:
        request = jsonfile.load(self.paths.stop) or {}
        if self.reason is None:
            self.reason = "preempted" if code == 75 else "exit"
        elif code == 0 and self._said_done():
            self.reason = "exit"  # it was done before the request reached it
        with contextlib.suppress(OSError):
            os.rmdir(self.environment["TMPDIR"])
        with contextlib.suppress(OSError):
            os.fsync(self.log)
        self.state.update(
            child=None,
            ended=time.time(),
            heartbeat=time.time(),
            used_seconds=self.watch.used(time.monotonic()),
            exit_code=code,
            signal=by_signal,
            reason=self.reason,
            by=request.get("by") if self.reason == "stopped" else None,
            log_bytes=os.fstat(self.log).st_size,
        )
        self._tell_end()

    def _tell_end(self) -> None:
        """However long it takes: a run whose end is not on the disk would pass for lost."""
        while True:
            try:
                return ballast.replace(self.paths, self.paths.state, self.state)
            except OSError:
                signal.sigtimedwait(signals.OURS, BEAT)

    def _view(self) -> subprocess.Popen[bytes]:
        """What an attached terminal sees. It ends with this process, and no key reaches it."""
        words = ["tail", "-n", "2000", "--pid=%d" % os.getpid(), "-F", self.paths.log]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, preexec_fn=signals.unblock)

    def _event(self, message: str) -> None:
        """Told where the disk takes it; what it tells of happens either way."""
        line = json.dumps({"v": 1, "t": time.time(), "event": "warning", "message": message})
        with contextlib.suppress(OSError):
            handle = os.open(self.paths.events, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with contextlib.closing(os.fdopen(handle, "ab", buffering=0)) as events:
                events.write(line.encode() + b"\n")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _mtime(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
