"""The supervisor of a run over several hosts: each attempt begins on all of them, or on none."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from typing import Callable

from orchestrator.core.jsontext import Object
from orchestrator.onhost import exits, files, meeting
from orchestrator.onhost.exits import Exit
from orchestrator.onhost.group_decisions import PREEMPTED, Go, Report
from orchestrator.onhost.meeting_base import Meeting
from orchestrator.onhost.records import GroupSpec
from orchestrator.onhost.supervisor import Supervisor, T

_INTERVAL = 0.5  # seconds between two looks at the other hosts
_WHILE_WAITING = 0.05  # seconds between them while no command runs, or a host is absent
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_SIOCGIFADDR = 0x8915


class GroupSupervisor(Supervisor):
    """Starts the command when all hosts are ready, and ends it when another host's has ended or is lost."""

    def __init__(
        self, root: str, run_id: str, umask: int, restarts: int, group: GroupSpec, after: str | None = None
    ) -> None:
        super().__init__(root, run_id, umask, restarts, after)
        self.group = group
        self.meeting: Meeting | None = None
        self.is_halted = self.is_free = False  # is_free: for a host that shuts down
        self.state.group = {"rank": group.rank, "hosts": group.hosts, "absent": []}
        self._known_absent: list[str] = []

    def _run_attempts(self) -> Exit:
        try:
            opened = meeting.open_meeting(
                self.group, self.state.restarts, self.spec.max_restarts, time.monotonic()
            )
        except OSError as error:
            what = "the other hosts cannot reach this one at port %d: %s" % (self.group.port, error)
            if error.errno == errno.EADDRINUSE:
                what += "; another run uses another port, unless resources.master names it"
            self.journal.say(what)
            self.reason = "not-started"
            return Exit(exits.NOT_FOUND, None)
        self.meeting = opened
        try:
            return self._run_together(opened)
        finally:
            self.meeting = None
            opened.close()

    def _run_together(self, opened: Meeting) -> Exit:
        end = None
        while True:
            by = (files.load(self.paths.stop) or Object()).text("by")
            opened.report(Report(self.state.attempt, self._reported(end), self.reason, by, self.is_free))
            self.state.child = None
            self._wait(lambda: opened.decision is not None or None)
            decision = opened.decision
            if not isinstance(decision, Go):
                assert decision is not None
                if self.is_free and decision.reason == PREEMPTED and not self.reason:
                    self.journal.say("the host is not back: gpujob deploy --resume %s" % self.spec.id)
                self.reason = self.reason or decision.reason
                self._note_stop(decision.reason, decision.by)
                return decision.end or end or Exit(None, None)
            if end is not None:
                self.journal.warn("attempt %d ended with %s; the next one starts" % (self.state.attempt, end))
            self._begin(decision, opened.address)
            end = self._run_attempt()
            self._end_leftovers()
            self.kill_at = None  # nothing is left to be killed while the others are waited for

    def _begin(self, decision: Go, address: str) -> None:
        self.is_halted = self.is_free = False
        self.state.attempt, self.state.restarts = decision.attempt - 1, decision.restarts
        master = decision.address if self.group.rank else address
        gpus = max(1, self.spec.gpus)
        variables = describe(self.group, master, decision.port, gpus)
        for name, value in variables.items():
            if name not in self.spec.env or name not in ("PET_NPROC_PER_NODE", *_INTERFACES):
                self.environment[name] = value
        if name := interface(address):
            for variable in _INTERFACES:
                self.environment.setdefault(variable, name)

    def _reported(self, end: Exit | None) -> Exit | None:
        """Returns the end as the others count it: a command that was ended for them has failed."""
        if end and self.is_halted and end.code in (0, exits.INTERRUPTED, None):
            return Exit(1, None)
        return end

    def _wait(self, find_status: Callable[[], T | None]) -> T:
        def find() -> T | None:
            self._follow()
            return find_status()

        return super()._wait(find)

    def _wait_seconds(self) -> float:
        is_waiting = not self.state.child or bool(self.meeting and self.meeting.absent)
        return min(_WHILE_WAITING if is_waiting else _INTERVAL, super()._wait_seconds())

    def _follow(self) -> None:
        """Hears the other hosts, shows which are absent, and ends the command if one of them asks for it."""
        assert self.meeting
        now = time.monotonic()
        self.meeting.poll(now)
        assert self.state.group
        self.state.group["problem"] = self.meeting.problem
        self._note_absent(now)
        halt = self.meeting.halt
        if halt is None or self.kill_at is not None or not self.state.child:
            return
        self.journal.warn("the command is ended: %s" % halt.why)
        self.is_halted, self.is_free = True, halt.is_free
        self._note_stop(halt.reason, halt.by)
        super()._stop(halt.reason or "")
        self.reason = halt.reason

    def _note_stop(self, reason: str | None, by: str | None) -> None:
        """Records who stopped the run on another host, as `gpujob stop` does here."""
        if reason == "stopped" and not files.load_json(self.paths.stop):
            with contextlib.suppress(OSError):
                files.write_json(self.paths.stop, {"v": 1, "by": by, "t": time.time(), "now": False})

    def _stop(self, reason: str, now: bool = False) -> None:
        super()._stop(reason, now)
        if self.meeting:
            request = files.load(self.paths.stop) or Object()
            self.meeting.ask_stop(reason, request.text("by"))

    def _check_limits(self) -> None:
        """A host that has nothing to do is not idle while another one trains."""
        now = time.monotonic()
        if self.meeting and self.meeting.exchange_activity(self.limits.is_active, now):
            self.limits.note_activity(now)
        super()._check_limits()

    def _note_absent(self, now: float) -> None:
        assert self.meeting
        assert self.state.group
        absent = {self.group.hosts[rank]: since for rank, since in self.meeting.absent.items()}
        if sorted(absent) == self._known_absent:
            return
        for host in sorted(absent):
            if host not in self._known_absent:
                self.journal.say("waiting for host %s" % host)
        for host in self._known_absent:
            if host not in absent:
                self.journal.say("host %s is connected" % host)
        self._known_absent = sorted(absent)
        clock = time.time()
        self.state.group["absent"] = [
            {"host": host, "since": clock - (now - since)} for host, since in sorted(absent.items())
        ]
        self._heartbeat()


def describe(group: GroupSpec, master: str, port: int, processes: int) -> dict[str, str]:
    """Returns the variables of a command of one host; those of torchrun begin with PET_."""
    rank, size = str(group.rank), str(len(group.hosts))
    return {
        "GPUJOB_NODE_RANK": rank,
        "GPUJOB_NNODES": size,
        "MASTER_ADDR": master,
        "MASTER_PORT": str(port),
        "PET_NODE_RANK": rank,
        "PET_NNODES": size,
        "PET_NPROC_PER_NODE": str(processes),
        "PET_MASTER_ADDR": master,
        "PET_MASTER_PORT": str(port),
    }


def interface(address: str) -> str:
    """Returns the name of the network interface that has an IPv4 address; empty if it cannot be told."""
    with contextlib.suppress(OSError, ImportError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        import fcntl  # noqa: PLC0415 - only Unix has it

        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                request = struct.pack("256s", name.encode()[:15])
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)[20:24]
                if socket.inet_ntoa(answer) == address:
                    return name
    return ""
