"""Processes by an identity that is never used twice: pid, start ticks, boot and pid namespace."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Iterable


def boot() -> str:
    """Boot id and pid namespace: containers share the first, and a reboot changes it."""
    with open("/proc/sys/kernel/random/boot_id") as handle:
        return handle.read().strip() + ":" + os.readlink("/proc/self/ns/pid")


def ticks(pid: int) -> int | None:
    """When `pid` started, in clock ticks since boot; None for no process or a zombie."""
    try:
        with open("/proc/%d/stat" % pid) as handle:
            fields = handle.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def identity(pid: int) -> dict[str, int]:
    return {"pid": pid, "ticks": ticks(pid) or 0}


def alive(who: dict[str, int] | None, born_in: str | None) -> bool:
    """Whether the very process that `identity` described, in the boot it was born in, lives."""
    return bool(who) and born_in == boot() and ticks(who["pid"]) == who["ticks"]  # type: ignore[index]


def marked(mark: str) -> list[int]:
    """Every living process that carries the run's mark, whatever its parent or session is now."""
    return by_mark().get(mark, [])


def by_mark() -> dict[str, list[int]]:
    """All marked processes, by mark. A supervisor carries none; those of other users cannot be read."""
    found: dict[str, list[int]] = {}
    for name in os.listdir("/proc"):
        mark = _mark_of(name) if name.isdigit() else None
        if mark and ticks(int(name)) is not None:
            found.setdefault(mark, []).append(int(name))
    return found


def descendants(of: int) -> list[int]:
    """Living children of `of`, and theirs."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        parent = _parent(name) if name.isdigit() else None
        if parent is not None:
            children.setdefault(parent, []).append(int(name))
    found, pending = [], [of]
    while pending:
        born = children.get(pending.pop(), [])
        found += born
        pending += born
    return sorted(pid for pid in found if ticks(pid) is not None)


def _parent(pid: str) -> int | None:
    try:
        with open("/proc/%s/stat" % pid) as handle:
            return int(handle.read().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return None


def _mark_of(pid: str) -> str | None:
    try:
        with open("/proc/%s/environ" % pid, "rb") as handle:
            words = handle.read().split(b"\0")
    except OSError:
        return None
    marks = [word[12:].decode(errors="replace") for word in words if word.startswith(b"GPUJOB_MARK=")]
    return marks[0] if marks else None


def send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def kill_marked(mark: str, wait: float = 5.0) -> list[int]:
    """SIGKILL to all of the run until none is left or `wait` seconds passed; returns who is left."""
    end = time.monotonic() + wait
    left = marked(mark)
    while left and time.monotonic() < end:
        send(left, signal.SIGKILL)
        time.sleep(0.05)
        left = marked(mark)
    return left


def shared_memory(pids: Iterable[int]) -> set[str]:
    """Files in /dev/shm that these processes have mapped."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError), open("/proc/%d/maps" % pid, errors="replace") as handle:
            for line in handle:
                at = line.find("/dev/shm/")
                if at >= 0 and not line.rstrip().endswith("(deleted)"):
                    found.add(line[at:].rstrip("\n"))
    return found
