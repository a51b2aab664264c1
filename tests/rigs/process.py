"""Starts and ends processes of rigs; they end with the test process, even if that is killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tests.rigs.patience import PATIENCE

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def guarded(words: Sequence[str], out: IO[bytes] | int, err: IO[bytes] | int) -> subprocess.Popen[bytes]:
    """Start a process that the kernel kills when this one ends. ValueError outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        raise ValueError(
            "start rigs in the main thread: their processes end with the thread that starts them"
        )
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *words],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        env={"PATH": PATH},
        start_new_session=True,
    )


def free_port(ip: str) -> int:
    """Return a free port on `ip`, below the range that the kernel uses for outgoing connections."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((ip, port))
            return port


def children(pid: int) -> list[int]:
    """Return the processes whose parent is `pid`."""
    return [child for child, parent in _parents().items() if parent == pid]


def end_tree(root: int, mark: bytes) -> None:
    """End `root`, its descendants, and every process with `mark` (NAME=value) in its environment."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(root, signal.SIGSTOP)
    end = time.monotonic() + PATIENCE
    while victims := (_below(root) | _marked(mark)) - {root}:
        if time.monotonic() > end:
            raise RuntimeError(f"processes that cannot be ended: {sorted(victims)}")
        for pid in victims:
            _kill(pid)
        time.sleep(0.005)
    _kill(root)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _below(root: int) -> set[int]:
    parents = _parents()
    pids: set[int] = set()
    ring = {root}
    while ring := {child for child, parent in parents.items() if parent in ring} - pids:
        pids |= ring
    return pids


def _marked(mark: bytes) -> set[int]:
    pids = set()
    for folder in _processes():
        with contextlib.suppress(OSError):
            if mark in Path(folder, "environ").read_bytes().split(b"\0"):
                pids.add(int(folder.name))
    return pids


def _parents() -> dict[int, int]:
    """Return the parent of each process, without zombies."""
    pids = {}
    for folder in _processes():
        with contextlib.suppress(OSError):
            # The name before may be any bytes: the kernel cuts it after 15, within a character too.
            state, parent = Path(folder, "stat").read_bytes().rpartition(b")")[2].split()[:2]
            if state not in b"ZX":
                pids[int(folder.name)] = int(parent)
    return pids


def _processes() -> list[Path]:
    return [folder for folder in Path("/proc").iterdir() if folder.name.isdigit()]
