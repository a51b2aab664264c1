"""Processes on this host: run one, and recognise one by pid, start time, boot and pid namespace."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Callable, Iterable, Sequence


def output(words: Sequence[str], timeout: float = 5, cwd: str | None = None) -> str:
    """stdout of a command; empty if it cannot be run, fails, or takes longer than `timeout` seconds."""
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
    """Polls `condition`; whether it held before the time was over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


def boot() -> str:
    """Boot id and pid namespace: containers share the first, and a reboot changes it."""
    with open("/proc/sys/kernel/random/boot_id") as handle:
        return handle.read().strip() + ":" + os.readlink("/proc/self/ns/pid")


def start_ticks(pid: int) -> int | None:
    """When `pid` started, in clock ticks since boot; None for no process or a zombie."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def identity(pid: int) -> dict[str, int]:
    """Identifies a process beyond the reuse of its pid, together with `boot`."""
    return {"pid": pid, "ticks": start_ticks(pid) or 0}


def is_alive(process: dict[str, int] | None, boot_id: str | None) -> bool:
    """Whether the very process that `identity` described during that boot is alive."""
    return bool(process) and boot_id == boot() and start_ticks(process["pid"]) == process["ticks"]  # type: ignore[index]


def with_mark(mark: str) -> list[int]:
    """Every process that has the run's mark in its environment, whatever its parent or session is now."""
    return by_mark().get(mark, [])


def by_mark() -> dict[str, list[int]]:
    """All marked processes, by mark. A supervisor has none; those of other users cannot be read."""
    marks: dict[str, list[int]] = {}
    for pid in _pids():
        mark = variable(pid, "GPUJOB_MARK")
        if mark and start_ticks(pid) is not None:
            marks.setdefault(mark, []).append(pid)
    return marks


def variable(pid: int, name: str) -> str | None:
    """A variable of the environment that `pid` was started with; None if it has none or may not be read."""
    prefix = name.encode() + b"="
    with contextlib.suppress(OSError), open("/proc/%d/environ" % pid, "rb") as handle:
        for word in handle.read().split(b"\0"):
            if word.startswith(prefix):
                return word[len(prefix) :].decode(errors="replace")
    return None


def descendants(of: int) -> list[int]:
    """Living children of `of`, and theirs."""
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
    """Sends a signal; processes that have ended are skipped."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def kill_marked(mark: str, wait: float = 5.0) -> list[int]:
    """SIGKILL to all of the run until none is left or `wait` seconds passed; returns who is left."""
    end = time.monotonic() + wait
    left = with_mark(mark)
    while left and time.monotonic() < end:
        send(left, signal.SIGKILL)
        time.sleep(0.05)
        left = with_mark(mark)
    return left


def shared_memory(pids: Iterable[int]) -> set[str]:
    """Files in /dev/shm that these processes have mapped."""
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
    """Fields of /proc/PID/stat from the state on; empty for no process."""
    try:
        with open("/proc/%d/stat" % pid) as handle:
            return handle.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []
