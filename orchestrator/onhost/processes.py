"""Runs, finds and signals processes; identifies them by pid, start time, boot id and pid namespace."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Callable, Iterable, Sequence


def output(words: Sequence[str], timeout: float = 5, cwd: str | None = None) -> str:
    """Returns the stdout of a command; empty if it fails or takes longer than `timeout` seconds."""
    try:
        process = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            cwd=cwd,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if process.returncode else process.stdout.decode(errors="replace")


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    """Polls `condition` for up to `seconds`; returns whether it became true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


def boot() -> str:
    """Returns the boot id, which a reboot changes, and the pid namespace, in which containers differ."""
    with open("/proc/sys/kernel/random/boot_id") as handle:
        return handle.read().strip() + ":" + os.readlink("/proc/self/ns/pid")


def start_ticks(pid: int) -> int | None:
    """Returns when `pid` started, in clock ticks since boot; None if it does not exist or is a zombie."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def identity(pid: int) -> dict[str, int]:
    """Returns pid and start time, which with `boot` identify a process even if its pid is reused."""
    return {"pid": pid, "ticks": start_ticks(pid) or 0}


def is_alive(process: dict[str, int] | None, boot_id: str | None) -> bool:
    """Returns whether the process that `identity` described during the boot `boot_id` is still alive."""
    return bool(process) and boot_id == boot() and start_ticks(process["pid"]) == process["ticks"]  # type: ignore[index]


def with_mark(mark: str) -> list[int]:
    """Returns the pids of all processes that have the run's mark in their environment."""
    return by_mark().get(mark, [])


def by_mark() -> dict[str, list[int]]:
    """Returns mark → pids of all marked processes.

    Supervisors have no mark; other users' processes are unreadable.
    """
    marks: dict[str, list[int]] = {}
    for pid in _pids():
        mark = variable(pid, "GPUJOB_MARK")
        if mark and start_ticks(pid) is not None:
            marks.setdefault(mark, []).append(pid)
    return marks


def variable(pid: int, name: str) -> str | None:
    """Returns a variable of the environment `pid` was started with; None if unset or not readable."""
    prefix = name.encode() + b"="
    with contextlib.suppress(OSError), open("/proc/%d/environ" % pid, "rb") as handle:
        for word in handle.read().split(b"\0"):
            if word.startswith(prefix):
                return word[len(prefix) :].decode(errors="replace")
    return None


def descendants(of: int) -> list[int]:
    """Returns the pids of all living descendants of the process `of`."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        fields = _stat(pid)
        if fields:
            children.setdefault(int(fields[1]), []).append(pid)
    family, pending = [], [of]
    while pending:
        new = children.get(pending.pop(), [])
        family += new
        pending += new
    return sorted(pid for pid in family if start_ticks(pid) is not None)


def send(pids: Iterable[int], number: int) -> None:
    """Sends the signal `number` to processes; those that have ended are skipped."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def kill_marked(mark: str, wait: float = 5.0) -> list[int]:
    """Sends SIGKILL to all processes of a run, for up to `wait` seconds; returns the pids still alive."""
    end = time.monotonic() + wait
    left = with_mark(mark)
    while left and time.monotonic() < end:
        send(left, signal.SIGKILL)
        time.sleep(0.05)
        left = with_mark(mark)
    return left


def shared_memory(pids: Iterable[int]) -> set[str]:
    """Returns the paths of the files in /dev/shm that these processes have mapped."""
    paths = set()
    for pid in pids:
        with contextlib.suppress(OSError), open("/proc/%d/maps" % pid, errors="replace") as handle:
            for line in handle:
                start = line.find("/dev/shm/")
                if start >= 0 and not line.rstrip().endswith("(deleted)"):
                    paths.add(line[start:].rstrip("\n"))
    return paths


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[str]:
    """Returns the fields of /proc/PID/stat from the state on; empty if there is no such process."""
    try:
        with open("/proc/%d/stat" % pid) as handle:
            return handle.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []
