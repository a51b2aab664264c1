"""The machines, disks and spot requests of a simulated account, their changes with time, and the bill."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.instances import spec
from orchestrator.instances.catalog import table

HOUR = 3600.0
MONTH = 730 * HOUR
REGIONS = ("us-east-1", "eu-west-1", "ap-northeast-1")
SPOT_SHARE = 0.4
LIVE = ("pending", "running", "stopping", "stopped", "shutting-down")


@dataclass
class Clock:
    now: float = 1_700_000_000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Disk:
    id: str
    region: str
    gb: int
    tags: dict[str, str]
    device: str
    is_kept: bool
    on: str = ""
    checkpoints: int = 0


@dataclass
class Machine:
    id: str
    region: str
    zone: str
    type: str
    spot: bool
    tags: dict[str, str]
    group: str
    stops: bool
    launched: float
    boots: bool = True
    state: str = "pending"
    reason: str = ""
    request: str = ""
    address: str = ""
    trained: float = 0.0
    started: float = 0.0


@dataclass
class Request:
    id: str
    region: str
    tags: dict[str, str]
    instance: str
    type: str
    state: str = "active"


@dataclass
class World:
    """faults: the chance that a call fails, or that its client is killed.

    is_broken: no instance boots. bill: USD by owner. lost: disks with checkpoints that were deleted
    before they were fetched.
    """

    clock: Clock
    random: random.Random
    faults: float = 0.0
    is_broken: bool = False
    machines: dict[str, Machine] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    groups: dict[str, tuple[str, str, dict[str, str]]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    bill: dict[str, float] = field(default_factory=dict)
    fetched: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers, self._at = itertools.count(1), self.clock.now

    # time and money

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self._at + seconds, next(self._numbers), act))

    def advance(self) -> None:
        """Carry out what is due until now; bill each span by the states in it."""
        while self._due and self._due[0][0] <= self.clock.now:
            at, _, act = heapq.heappop(self._due)
            self._charge(at)
            act()
        self._charge(self.clock.now)

    def _charge(self, until: float) -> None:
        span, self._at = max(0.0, until - self._at), max(self._at, until)
        for one in self.machines.values():
            if one.state == "running":
                usd = (table().usd(one.type, one.region) or 0.0) * (SPOT_SHARE if one.spot else 1.0)
                self._add(one.tags, (usd + table().ipv4_hour) * span / HOUR)
                one.trained += span
                for disk in self._of(one, is_data=True):
                    disk.checkpoints = max(disk.checkpoints, int(one.trained / HOUR))
        for disk in self.disks.values():
            self._add(disk.tags, disk.gb * table().gp3_gb_month(disk.region) * span / MONTH)

    def _add(self, tags: dict[str, str], usd: float) -> None:
        owner = tags.get(spec.OWNER, "?")
        self.bill[owner] = self.bill.get(owner, 0.0) + usd

    def _of(self, machine: Machine, is_data: bool = False) -> list[Disk]:
        disks = [disk for disk in self.disks.values() if disk.on == machine.id]
        data = [disk for disk in disks if disk.device == spec.DATA_DEVICE]
        return (data or disks) if is_data else disks

    # what happens to a machine

    def _set(self, machine: Machine, state: str, why: str = "User initiated") -> None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self._at))
        machine.state, machine.reason = state, f"{why} ({when} GMT)"

    def _boot(self, machine: Machine) -> None:
        if machine.state != "pending":
            return
        machine.started = self._at
        self._set(machine, "running")
        machine.address = f"10.0.0.{len(self.machines)}.{next(self._numbers)}"
        ends = float(machine.tags[spec.EXPIRES]) if machine.boots else self._at + 1e9
        self.later(max(0.0, ends - self._at), lambda: self._power_off(machine, ends))

    def _power_off(self, machine: Machine, deadline: float) -> None:
        if machine.state == "running" and float(machine.tags[spec.EXPIRES]) <= max(deadline, self._at):
            if machine.stops:
                self._stop(machine, "disabled")
            else:
                self.terminate(machine)

    def _stop(self, machine: Machine, request: str) -> None:
        self._set(machine, "stopped")
        machine.address = ""
        if machine.request:
            self.requests[machine.request].state = request

    def interrupt(self, machine: Machine, hours: float) -> None:
        """EC2 takes the capacity of a spot instance back; it is there again after some hours."""
        if machine.state != "running":
            return
        self._stop(machine, "open")
        self.later(hours * HOUR, lambda: self._restart(machine))

    def _restart(self, machine: Machine) -> None:
        if machine.state == "stopped" and self.requests[machine.request].state == "open":
            self.requests[machine.request].state = "active"
            self._set(machine, "pending")
            self._boot(machine)

    def terminate(self, machine: Machine) -> None:
        if machine.state in ("terminated", "shutting-down"):
            return
        self._set(machine, "shutting-down")
        self.later(self.random.choice((20.0, 20.0, 20.0, HOUR)), lambda: self._end(machine))

    def _end(self, machine: Machine) -> None:
        self._set(machine, "terminated")
        machine.address = ""
        for disk in self._of(machine):
            disk.on = ""
            if not disk.is_kept:
                self._delete(disk)
        request = self.requests.get(machine.request)
        if request and request.state in ("active", "open", "disabled"):
            raise AssertionError(f"{machine.id} ended before its request: EC2 launches another instance")

    def _delete(self, disk: Disk) -> None:
        if disk.checkpoints > self.fetched.get(disk.id, 0):
            self.lost.append(disk.id)
        del self.disks[disk.id]

    def billed(self, owner: str) -> set[str]:
        """Return the ids of all that costs money and is of an owner; of disks only those on no machine."""
        self.advance()
        machines = {one.id for one in self.machines.values() if one.state in LIVE and is_of(one.tags, owner)}
        return machines | {one.id for one in self.disks.values() if not one.on and is_of(one.tags, owner)}

    def fetch(self, instance: str) -> None:
        for disk in self._of(self.machines[instance]):
            self.fetched[disk.id] = disk.checkpoints

    def answers(self, address: str | None) -> bool:
        self.advance()
        return any(
            one.address == address and one.state == "running" and one.boots for one in self.machines.values()
        )

    def _id(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers):017x}"


def is_of(tags: dict[str, str], owner: str) -> bool:
    return tags.get(spec.OWNER) == owner
