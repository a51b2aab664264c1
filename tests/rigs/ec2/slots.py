"""Addresses and a folder for each simulation, so that those of several test processes do not collide."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.rigs.ec2 import cgroups

SLOTS = range(1, 200)
LOCKS = Path(tempfile.gettempdir()) / "gpujob-rigs"


@dataclass(frozen=True)
class Slot:
    """A reserved set of addresses and a folder; released by the kernel when its process ends."""

    number: int
    lock: IO[bytes]

    @property
    def folder(self) -> Path:
        return LOCKS / str(self.number)

    @property
    def table(self) -> str:
        """The name of the packet filter's table."""
        return f"gpujob_rig_{self.number}"

    def addresses(self) -> Iterator[str]:
        """Yield addresses in turn: EC2 assigns another address after stop and start."""
        while True:
            yield from (f"127.77.{self.number}.{last}" for last in range(2, 250))


def metadata_address(ip: str) -> str:
    """Return the address of the metadata service for the machine at `ip`."""
    return ip.replace("127.77.", "127.78.", 1)


def take() -> Slot:
    """Reserve the first free slot and empty its folder. RuntimeError if all are in use."""
    LOCKS.mkdir(mode=0o755, exist_ok=True)
    for number in SLOTS:
        lock = (LOCKS / f"{number}.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        slot = Slot(number, lock)
        slot.folder.mkdir(exist_ok=True)
        slot.folder.chmod(0o755)
        cgroups.remove(cgroups.of_slot(number))  # of a simulation that was killed
        return slot
    raise RuntimeError(f"{len(SLOTS)} rigs run already; their locks are in {LOCKS}")
