"""What both sides of a meeting have: rank 0, which decides, and every other host of a run."""

from __future__ import annotations

import abc

from orchestrator.onhost.group_decisions import Finish, Go, Halt, Report
from orchestrator.onhost.records import GroupSpec


class Meeting(abc.ABC):
    """What both sides have. `decision`: None until there is one for the last report; `halt`: see Halt.

    `absent`: the ranks of missing hosts and since when. `address`: of this host, as the others reach it.
    `problem`: why rank 0 is not reached.
    """

    def __init__(self, group: GroupSpec, restarts: int, max_restarts: int) -> None:
        self.group = group
        self.restarts = restarts
        self.max_restarts = max_restarts
        self.decision: Go | Finish | None = None
        self.halt: Halt | None = None
        self.absent: dict[int, float] = {}
        self.address = "127.0.0.1"
        self.has_met = False
        self.problem = ""
        self._are_others_active = False

    @abc.abstractmethod
    def report(self, report: Report) -> None:
        """Gives the report of this host; the decision follows once all hosts have given theirs."""

    @abc.abstractmethod
    def ask_stop(self, reason: str, by: str | None) -> None:
        """Asks that the run ends on all hosts."""

    @abc.abstractmethod
    def poll(self, now: float) -> None:
        """Sends and receives what can be without waiting long."""

    def exchange_activity(self, is_active: bool, now: float) -> bool:
        """Tells the others whether the run is active here; returns whether it has been on one of them.

        Rank 0 passes on, in one message to each, what any of them has said.
        """
        others, self._are_others_active = self._are_others_active, False
        self._tell_activity(is_active, others, now)
        return others

    @abc.abstractmethod
    def _tell_activity(self, is_active: bool, others: bool, now: float) -> None: ...

    @abc.abstractmethod
    def close(self) -> None:
        """Ends the connections to the other hosts."""

    def _take(self, decision: Go | Finish) -> None:
        self.decision, self.halt = decision, None
        if isinstance(decision, Go):
            self.restarts, self.has_met = decision.restarts, True
