"""The files in which the output of this command ends: they grow while it runs, and are no code."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from orchestrator.onhost import processes

_PROC = Path("/proc")


def output_files(streams: Iterable[TextIO]) -> frozenset[tuple[int, int]]:
    """Device and inode of each file that a stream is redirected to, as by `> FILE` or `| tee FILE`.

    Where a stream is no file, these are the files to which the programs around this one write: those of its
    pipeline (`tee`), and those that started it (`script`). They are known on Linux only.
    """
    files, is_passed_on = set(), False
    for stream in streams:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            status = os.fstat(stream.fileno())
            if stat.S_ISREG(status.st_mode):
                files.add((status.st_dev, status.st_ino))
            is_passed_on = is_passed_on or not stat.S_ISREG(status.st_mode)
    if is_passed_on:
        for pid in _programs_around():
            files.update(_files_written_by(pid))
    return frozenset(files)


def _programs_around() -> Iterator[int]:
    table, group, parent = processes.table(), os.getpgrp(), os.getppid()
    for pid, entry in table.items():
        with contextlib.suppress(OSError):
            # Group 0 may be several: it stands for each that was begun outside the pid namespace.
            if (
                pid != os.getpid()
                and os.getpgid(pid) == group
                and (group or entry.parent in (parent, os.getpid()))
            ):
                yield pid
    while parent in table:
        yield parent
        parent = table[parent].parent


def _files_written_by(pid: int) -> Iterator[tuple[int, int]]:
    with contextlib.suppress(OSError, ValueError, IndexError):  # it ended, or is another user's
        for link in (_PROC / str(pid) / "fd").iterdir():
            status = link.stat()
            if stat.S_ISREG(status.st_mode) and _is_written(pid, link.name):
                yield status.st_dev, status.st_ino


def _is_written(pid: int, number: str) -> bool:
    """The second line of a fdinfo is `flags:` and the flags of open(2) in octal; see proc_pid_fdinfo(5)."""
    lines = (_PROC / str(pid) / "fdinfo" / number).read_text().splitlines()
    return int(lines[1].split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
