"""Recognises runs of other machines, where several share the root folder, such as a home on NFS.

From here their processes cannot be seen. That a supervisor is alive is known from the lock that it holds, or,
on a file system whose locks other machines do not see, from its heartbeat.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from typing import NamedTuple

from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import files, instance_limits, processes
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import State

FRESH = 90.0  # seconds: NFS clients cache attributes for up to 60
_INITIAL_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of Linux
_MOUNTS = "/proc/self/mountinfo"
_ESCAPED = re.compile(r"\\([0-7]{3})")  # a blank, a tab, a newline or a backslash in a path of that file
_SHARED = (
    *("afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "ocfs2", "orangefs"),
    *("panfs", "pvfs2", "smb", "wekafs", "9p", "virtiofs"),
)


def host_name() -> str:
    return os.uname().nodename


def machine_id() -> str:
    """Returns an id that survives a reboot; empty if this machine has none."""
    with contextlib.suppress(OSError), open("/etc/machine-id") as handle:
        return handle.read().strip()
    return ""


def machine_key() -> str:
    """Returns 8 hex digits, by which machines and containers that share a folder differ; kept by a reboot."""
    import hashlib  # noqa: PLC0415 - 3 ms that `status` of most machines does not need

    words = host_name(), machine_id(), processes.pid_namespace()
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:8]


def hold(paths: RunPaths) -> int | None:
    """Locks the run for as long as this process lives; None if the file system has no locks."""
    with contextlib.suppress(OSError):
        descriptor = os.open(paths.alive, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor
    return None


def find(paths: RunPaths, state: State | None) -> str | None:
    """Returns the name of the machine on which the run is alive, if that is not this one."""
    if state is None or state.ended is not None or not state.boot or state.boot == processes.boot():
        return None
    # The volume of an EC2 instance comes from one that has ended, however fresh its last heartbeat is.
    may_share = is_foreign(state) and instance_limits.find() is None
    if _is_held(paths.alive) or (may_share and _age(paths, state) < FRESH):
        return state.host or "another machine"
    return None


def new_state(run_id: str) -> State:
    """Returns a state for a run of this machine that has none."""
    return State(id=run_id, boot=processes.boot(), host=host_name(), machine=machine_id())


def is_foreign(state: State) -> bool:
    """Returns whether another machine wrote the state; False if the state does not say which did."""
    return not is_here(state.host, state.machine)


def is_here(host: str, machine: str) -> bool:
    """Returns whether a record with this name and machine-id is of this machine, or does not say of which."""
    return not host or (host, machine) == (host_name(), machine_id())


def refusal(run_id: str, host: str) -> Refused:
    """Returns the error of an operation that only the machine `host` can carry out safely."""
    return Refused("elsewhere", "run %s is alive on %s, which shares this folder" % (run_id, host), host=host)


def layout(root: str) -> Layout:
    """Returns the layout of a root folder, with a tmux socket that no other machine or container uses."""
    if processes.pid_namespace() == _INITIAL_NAMESPACE and not _is_shared(root):
        return Layout(root, os.getuid())
    return Layout(root, os.getuid(), machine_key())


def _is_held(path: str) -> bool:
    try:
        with files.open_regular(path) as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _age(paths: RunPaths, state: State) -> float:
    """Returns the seconds since the last heartbeat, by the clock of the writer or of the file server."""
    times = [state.heartbeat]
    with contextlib.suppress(OSError):
        times.append(os.stat(paths.state).st_mtime)
    return min(abs(time.time() - each) for each in times)


class Mount(NamedTuple):
    """A mounted file system: the path of its root, and its type."""

    point: str
    kind: str


def mounts() -> list[Mount]:
    """Returns what is mounted, as this process sees it, in the order of mounting."""
    mounts = []
    with contextlib.suppress(OSError), open(_MOUNTS, errors="surrogateescape") as handle:
        for line in handle:
            fields, _, rest = line.partition(" - ")
            point = _ESCAPED.sub(lambda code: chr(int(code[1], 8)), fields.split(" ")[4])
            mounts.append(Mount(point, rest.split(" ")[0]))
    return mounts


def _is_shared(root: str) -> bool:
    """Returns whether other machines may mount the file system of `root` too."""
    path = os.path.realpath(root) + "/"
    over = [mount for mount in mounts() if path.startswith(mount.point.rstrip("/") + "/")]
    kind = max(reversed(over), key=lambda mount: len(mount.point)).kind if over else ""
    return kind == "fuse" or kind.startswith(("fuse.", *_SHARED))
