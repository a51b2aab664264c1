"""The supervisors of a run over several hosts agree when an attempt begins and how the run ends.

Rank 0 listens and decides; the others are connected to it for as long as they live. An attempt begins once
every host is ready. Where one host ends, fails or is lost, the others are asked to end theirs.
"""

from __future__ import annotations

import contextlib
from typing import Sequence

from orchestrator.core.jsontext import Object
from orchestrator.onhost import meeting_lines
from orchestrator.onhost.exits import Exit
from orchestrator.onhost.group_decisions import (
    FIRST,
    PREEMPTED,
    RETURN,
    Finish,
    Go,
    Halt,
    Report,
    Situation,
    decide,
    lost,
)
from orchestrator.onhost.meeting_base import Meeting
from orchestrator.onhost.meeting_lines import Guest, Line, Lost
from orchestrator.onhost.records import GroupSpec

_RETRY = 1.0  # seconds between two attempts to connect


class Leader(Meeting):
    """Rank 0."""

    def __init__(self, group: GroupSpec, restarts: int, max_restarts: int, now: float) -> None:
        """Raises OSError if the port is in use."""
        super().__init__(group, restarts, max_restarts)
        self._listener = meeting_lines.listen(group.port)
        self._guests: list[Guest] = []
        self._lines: dict[int, Line] = {}
        self._addresses: dict[int, str] = {}
        self._reports: dict[int, Report] = {}
        self._stop: Halt | None = None
        self._leaving: dict[int, Halt] = {}  # of the hosts that shut down
        self._is_running = False
        self._halted: set[int] = set()
        self.absent = dict.fromkeys(range(1, len(group.hosts)), now)

    def report(self, report: Report) -> None:
        self.decision, self.halt = None, None
        self._reports[0] = report

    def ask_stop(self, reason: str, by: str | None) -> None:
        self._note_stop(0, reason, by)

    def _note_stop(self, rank: int, reason: str, by: str | None) -> None:
        why = "%s on %s" % (reason, self.group.hosts[rank])
        if reason == PREEMPTED:
            self._leaving[rank] = Halt(why, is_free=True)
        else:
            self._stop = self._stop or Halt(why, reason, by)

    def poll(self, now: float) -> None:
        for connection in meeting_lines.accept(self._listener):
            with contextlib.suppress(Lost):
                self._guests.append(Guest(connection, self.group.key, now))
        for guest in list(self._guests):
            self._welcome(guest, now)
        for rank in list(self._lines):
            try:
                for message in self._lines[rank].receive(now):
                    self._hear(rank, message)
                self._lines[rank].beat(now)
            except Lost as error:
                self._lose(rank, now, str(error))
        if self._is_running:
            self._halt_others(now)
        self._dismiss(now)
        if 0 in self._reports and self.decision is None:
            self._decide(now)

    def close(self) -> None:
        self._listener.close()
        for line in (*self._lines.values(), *(guest.line for guest in self._guests)):
            line.finish()

    def _dismiss(self, now: float) -> None:
        """Ends the run on each host that shuts down, and is ready to: the others wait for it to return."""
        for rank in set(self._leaving) & set(self._reports):
            del self._reports[rank]
            finish = Finish(None, PREEMPTED)
            if rank:
                self._send(rank, "finish", finish, now)
            elif self.decision is None:
                self._take(finish)

    def _welcome(self, guest: Guest, now: float) -> None:
        try:
            identity = guest.identify(now)
        except Lost:
            identity = (0, "")
        if identity is None:
            return
        self._guests.remove(guest)
        rank, address = identity
        if not 0 < rank < len(self.group.hosts):
            guest.line.close()
            return
        if rank in self._lines:
            self._lose(rank, now, "it connected again")
        self._lines[rank], self._addresses[rank] = guest.line, address
        self.absent.pop(rank, None)
        self._leaving.pop(rank, None)  # one that still shuts down says so again

    def _hear(self, rank: int, message: Object) -> None:
        if report := message.get("report", list):
            self._reports[rank] = Report.parse(report)
            self._halted.discard(rank)
        elif stop := message.get("stop", list):
            self._note_stop(rank, *stop)
        elif message.get("active", list):
            self._are_others_active = True

    def _tell_activity(self, is_active: bool, others: bool, now: float) -> None:
        for rank in list(self._lines) if is_active or others else ():
            self._send(rank, "active", [True], now)

    def _lose(self, rank: int, now: float, why: str) -> None:
        self._lines.pop(rank).close()
        self._reports.pop(rank, None)
        self._halted.discard(rank)
        self.absent[rank] = now

    def _halt_others(self, now: float) -> None:
        """Asks the hosts that are not ready to end, where one has failed, was stopped or is lost."""
        halt = self._stop or self._cause()
        if halt is None:
            return
        if 0 not in self._reports:
            self.halt = halt
        for rank in list(self._lines):
            if rank not in self._reports and rank not in self._halted:
                self._halted.add(rank)
                self._send(rank, "halt", halt, now)

    def _cause(self) -> Halt | None:
        for leaving in self._leaving.values():
            return leaving
        for rank, one in self._reports.items():
            if one.reason:
                return Halt("%s on %s" % (one.reason, self.group.hosts[rank]), one.reason, one.by)
            if one.end is None:
                return Halt("%s was started again" % self.group.hosts[rank])
            if one.end.code != 0:
                return Halt("the command on %s ended with %s" % (self.group.hosts[rank], one.end))
        for rank in self.absent:
            return Halt("%s was lost" % self.group.hosts[rank])
        return None

    def _decide(self, now: float) -> None:
        situation = Situation(
            len(self.group.hosts),
            self._reports,
            self.absent,
            self._stop,
            self.restarts,
            self.max_restarts,
            self.has_met,
        )
        decision = decide(situation, now)
        if decision is None:
            return
        self._reports, self._halted, self._is_running = {}, set(), isinstance(decision, Go)
        self._leaving.clear()
        if isinstance(decision, Go):
            used = list(self._addresses.values())
            address = max(used, key=used.count)
            decision = decision._replace(address=address, port=meeting_lines.free_port())
            self.address = self._lines[min(self._lines)].local_address
        word = "go" if isinstance(decision, Go) else "finish"
        for rank in list(self._lines):
            self._send(rank, word, decision, now)
        self._take(decision)

    def _send(self, rank: int, word: str, value: Sequence[object], now: float) -> None:
        try:
            self._lines[rank].send(word, value)
        except Lost as error:
            self._lose(rank, now, str(error))


class Member(Meeting):
    """Every other rank."""

    def __init__(self, group: GroupSpec, restarts: int, max_restarts: int, now: float) -> None:
        super().__init__(group, restarts, max_restarts)
        self._line: Line | None = None
        self._report: Report | None = None
        self._stop: tuple[str, str | None] | None = None
        self._tries = 0
        self._next_try = now
        self.absent = {0: now}

    def report(self, report: Report) -> None:
        self.decision, self.halt, self._report = None, None, report
        self._send("report", report)

    def ask_stop(self, reason: str, by: str | None) -> None:
        self._stop = (reason, by)
        self._send("stop", self._stop)

    def poll(self, now: float) -> None:
        if self._line is None and now >= self._next_try:
            self._connect(now)
        if self._line is not None:
            try:
                for message in self._line.receive(now):
                    self._hear(message)
                if self._line:
                    self._line.beat(now)
            except Lost as error:
                self._lose(now, str(error))
        if self._line is None and self._report and self.decision is None:
            self._decide_alone(now)

    def close(self) -> None:
        if self._line:
            self._line.close()

    def _connect(self, now: float) -> None:
        address = self.group.addresses[self._tries % len(self.group.addresses)]
        self._tries += 1
        self._next_try = now + _RETRY / len(self.group.addresses)
        try:
            self._line = meeting_lines.connect(address, self.group.port, self.group.key, self.group.rank, now)
        except (OSError, Lost) as error:
            self.problem = "%s:%d: %s" % (address, self.group.port, error)
            return
        self.address, self.problem = self._line.local_address, ""
        self.absent = {}
        if self._report:
            self._send("report", self._report)
        if self._stop:
            self._send("stop", self._stop)

    def _hear(self, message: Object) -> None:
        if go := message.get("go", list):
            self._report = None
            self._take(Go(*go))
        elif finish := message.get("finish", list):
            self._report = None
            end, reason, by = finish
            self._take(Finish(Exit(*end) if end else None, reason, by))
        elif (halt := message.get("halt", list)) and self._report is None:
            self.halt = Halt(*halt)
        elif message.get("active", list):
            self._are_others_active = True

    def _tell_activity(self, is_active: bool, others: bool, now: float) -> None:
        if is_active:
            self._send("active", [True])

    def _lose(self, now: float, why: str) -> None:
        if self._line:
            self._line.close()
        self._line, self.absent, self.problem = None, {0: now}, why
        if self._report is None and self.decision and not isinstance(self.decision, Finish):
            self.halt = self.halt or Halt("%s was lost" % self.group.hosts[0])

    def _decide_alone(self, now: float) -> None:
        """Without rank 0: the run ends where it was stopped, and where rank 0 does not come in time."""
        assert self._report
        if self._stop or self._report.reason:
            reason, by = self._stop or self._report[2:4]
            self._take(Finish(None, reason, by))
            return
        is_free = self._report.is_free
        may_wait = is_free or not self.has_met or self.restarts < self.max_restarts
        if not may_wait or now - self.absent[0] > (RETURN if self.has_met else FIRST):
            self._take(lost(self._report.attempt, is_free))

    def _send(self, word: str, value: Sequence[object]) -> None:
        """What cannot be sent now is sent after the next connection."""
        if self._line:
            with contextlib.suppress(Lost):
                self._line.send(word, value)


def open_meeting(group: GroupSpec, restarts: int, max_restarts: int, now: float) -> Meeting:
    """Raises OSError if rank 0 cannot listen."""
    kind = Member if group.rank else Leader
    return kind(group, restarts, max_restarts, now)
