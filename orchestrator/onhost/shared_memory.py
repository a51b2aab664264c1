"""Which files in /dev/shm a run made, and which are in use: a process that is killed leaves its own there."""

from __future__ import annotations

import os
from typing import Iterable

from orchestrator.onhost import processes

_FOLDER = "/dev/shm/"
_DELETED = " (deleted)"  # after the path of a file that nothing can open any more


class SharedMemory:
    """Finds the files in /dev/shm that a run made: it maps them, and they were not there before it.

    A run may map what others use, such as data that its user keeps in memory.
    """

    def __init__(self, recorded: Iterable[str]) -> None:
        """`recorded`: the paths of those that earlier supervisors of the run found."""
        self._others = _names() - set(map(_name, recorded))

    def find(self, pids: Iterable[int]) -> set[str]:
        """Returns the paths of those that these processes of the run have mapped."""
        return {path for path in mapped(pids) if _name(path) not in self._others}


def mapped(pids: Iterable[int]) -> set[str]:
    """Returns the paths of the files in /dev/shm that these processes have mapped."""
    paths = set()
    for pid in pids:
        for line in processes.content(pid, "maps").decode(errors="replace").split("\n"):
            if _FOLDER in line and not line.endswith(_DELETED):
                paths.add(_path(line))
    return paths - {""}


def _path(line: str) -> str:
    """Returns the path in /dev/shm of a line of /proc/PID/maps; empty for one of another file.

    In a container, or below another root, a file of that path may be another one: device and inode say so.
    """
    _, _, _, device, inode, path = [*line.split(None, 5), "", "", "", "", "", ""][:6]
    if not path.startswith(_FOLDER):
        return ""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return ""
    own = "%02x:%02x" % (os.major(about.st_dev), os.minor(about.st_dev)), str(about.st_ino)
    return path if own == (device, inode) else ""


def _names() -> set[str]:
    """Returns the names of the files and folders in /dev/shm."""
    try:
        return set(os.listdir(_FOLDER))
    except OSError:
        return set()


def _name(path: str) -> str:
    return path.split("/")[3]
