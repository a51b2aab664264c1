"""Runs, finds and signals processes; identifies them by pid, start time, boot id and pid namespace."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import signal
import subprocess
import time
from typing import Callable, Collection, Iterable, Mapping, NamedTuple, Sequence, TypedDict

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_DELETED = " (deleted)"  # after a path in /proc
_KERNEL_THREAD = 0x200000  # PF_KTHREAD, a flag of Linux


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


@functools.lru_cache(maxsize=None)
def boot() -> str:
    """Returns the boot id, which a reboot changes, and the pid namespace, in which containers differ.

    Some containers hide the boot id: the name of the machine and the start of its first process replace it.
    """
    boot_id = _read(_BOOT_ID).decode(errors="replace").strip()
    return (boot_id or "%s-%s" % (os.uname().nodename, start_ticks(1))) + ":" + pid_namespace()


def pid_namespace() -> str:
    """Returns what names the pid namespace of this process; empty where the kernel does not say."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def start_ticks(pid: int) -> int | None:
    """Returns when `pid` started, in clock ticks since boot; None if it does not exist or has ended."""
    fields = _stat(pid)
    return int(fields[19]) if _lives(fields) else None


def identity(pid: int) -> Identity:
    """Returns pid and start time, which with `boot` identify a process even if its pid is reused."""
    return {"pid": pid, "ticks": start_ticks(pid) or 0}


def is_alive(process: Identity | None, boot_id: str | None) -> bool:
    """Returns whether the process that `identity` described during the boot `boot_id` is still alive."""
    return process is not None and boot_id == boot() and start_ticks(process["pid"]) == process["ticks"]


def variable(pid: int, name: str) -> str | None:
    """Returns a variable of the environment `pid` was started with; None if unset or not readable."""
    prefix = name.encode() + b"="
    for word in content(pid, "environ").split(b"\0"):
        if word.startswith(prefix):
            return word[len(prefix) :].decode(errors="replace")
    return None


class Identity(TypedDict):
    """What identifies a process of one boot: `ticks` is when it started, since a pid is used again."""

    pid: int
    ticks: int


class Process(TypedDict):
    """A process for a message; `user` and `command` are empty where they cannot be read."""

    pid: int
    user: str
    command: str


class Entry(NamedTuple):
    """A living process in /proc: parent, session and start time in clock ticks since boot.

    `is_kernel`: a thread of the kernel, which has no environment and no files.
    """

    parent: int
    session: int
    ticks: int
    is_kernel: bool = False


class Snapshot(NamedTuple):
    """All living processes at one moment: `table` by pid; `marks`: mark of a run → pids that have it.

    `writers`: path of a log → pids whose stdout or stderr it is. Supervisors have no mark. The environment of
    another user's process cannot be read, its entry can.
    """

    table: dict[int, Entry]
    marks: dict[str, list[int]]
    writers: Mapping[str, Sequence[int]] = {}


def snapshot() -> Snapshot:
    entries = table()
    kernel = {pid for pid, entry in entries.items() if entry.is_kernel}  # half of those of many hosts
    return Snapshot(entries, by_mark(kernel), by_log(kernel))


def table() -> dict[int, Entry]:
    entries = {}
    for pid in _pids():
        fields = _stat(pid)
        if _lives(fields):
            is_kernel = bool(int(fields[6]) & _KERNEL_THREAD)
            entries[pid] = Entry(int(fields[1]), int(fields[3]), int(fields[19]), is_kernel)
    return entries


def by_mark(without: Collection[int] = ()) -> dict[str, list[int]]:
    marks: dict[str, list[int]] = {}
    for pid in set(_pids()).difference(without):
        mark = variable(pid, "GPUJOB_MARK")
        if mark and start_ticks(pid) is not None:
            marks.setdefault(mark, []).append(pid)
    return marks


def by_log(without: Collection[int] = ()) -> dict[str, list[int]]:
    writers: dict[str, list[int]] = {}
    for pid in set(_pids()).difference(without):
        for path in {_output_path(pid, 1), _output_path(pid, 2)}:
            if path.endswith("/log"):
                writers.setdefault(path, []).append(pid)
    return writers


def kill(find_members: Callable[[], list[int]], seconds: float = 5.0) -> list[int]:
    """Sends SIGKILL to all members for up to `seconds`; returns those that are still alive.

    Ends early if only processes remain that this user may not signal.
    """
    end = time.monotonic() + seconds
    left = find_members()
    while left and time.monotonic() < end:
        refused = send(left, signal.SIGKILL)
        if set(left) <= set(refused):
            break
        time.sleep(0.05)
        left = find_members()
    return left


def kill_marked(mark: str) -> None:
    """Kills all processes with a mark."""
    kill(lambda: by_mark().get(mark, []))


def are_all_visible() -> bool:
    """Returns whether this user sees the processes of others: /proc may be mounted with `hidepid`."""
    return bool(_stat(1))


def describe(pid: int) -> Process:
    """Returns pid, user and command line of a process, as far as they can be read."""
    user = ""
    with contextlib.suppress(OSError, KeyError):
        user = str(os.stat("/proc/%d" % pid).st_uid)
        user = pwd.getpwuid(int(user)).pw_name
    command = content(pid, "cmdline")[:200].replace(b"\0", b" ").strip()
    return {"pid": pid, "user": user, "command": command.decode("utf-8", errors="replace")}


def send(pids: Iterable[int], number: int) -> list[int]:
    """Sends the signal `number` to processes; returns those that this user may not signal."""
    refused = []
    for pid in pids:
        try:
            os.kill(pid, number)
        except PermissionError:
            refused.append(pid)
        except OSError:
            continue  # it has ended
    return refused


def exit_with_descendants() -> None:
    """Ends this process at once, with every process that it started and is still its descendant."""
    children: dict[int, list[int]] = {}
    for pid, entry in table().items():
        children.setdefault(entry.parent, []).append(pid)
    pending = list(children.get(os.getpid(), []))
    while pending:
        pid = pending.pop()
        pending += children.get(pid, [])
        send([pid], signal.SIGKILL)
    os._exit(1)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _output_path(pid: int, descriptor: int) -> str:
    """Returns the path of the file that a descriptor is, which may be deleted; empty if that is unknown."""
    try:
        path = os.readlink("/proc/%d/fd/%d" % (pid, descriptor))
    except OSError:
        return ""
    return path[: -len(_DELETED)] if path.endswith(_DELETED) else path


def _lives(fields: list[str]) -> bool:
    """Returns whether a process has not ended. Threads may outlive its main one, which is a zombie then."""
    return bool(fields) and (fields[0] not in "ZX" or int(fields[17]) > 1)


def content(pid: int, name: str) -> bytes:
    """Returns a file of a process, by another thread if the main one has ended; empty if unreadable."""
    folder = "/proc/%d" % pid
    content = _read("%s/%s" % (folder, name))
    if content or _stat(pid)[:1] != ["Z"]:
        return content
    with contextlib.suppress(OSError):
        for thread in os.listdir(folder + "/task"):
            if thread != str(pid) and (own := _read("%s/task/%s/%s" % (folder, thread, name))):
                return own
    return b""


def _read(path: str) -> bytes:
    """Returns the content of a file in /proc; without a file object, whose cost would double that."""
    content = b""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            while block := os.read(descriptor, 1 << 16):
                content += block
        except OSError:  # it ended meanwhile, or is another user's
            return b""
        finally:
            os.close(descriptor)
    return content


def _stat(pid: int) -> list[str]:
    """Returns the fields of /proc/PID/stat from the state on; empty if there is no such process.

    The name before them may be any bytes: the kernel cuts it after 15, within a character too.
    """
    _, _, fields = _read("/proc/%d/stat" % pid).rpartition(b")")
    return fields.decode("ascii", errors="replace").split()
