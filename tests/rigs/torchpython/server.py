"""The process of a TorchServer: `python -I server.py ADDRESS OWNER` forks one process for each request.

It ends with the process OWNER. `serve` does the same for other programs that are slow to import.

A request is a line of JSON with `module`, `words` (those after it), `env`, `cwd` and `python`, sent with
three file descriptors; lines with signal numbers may follow. The answers are two lines: the number of the
forked process, and in the end its wait status. A forked process runs where the requesting one does: in its
namespaces and its control groups of systemd, below its root, as its user.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import io
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PRELOADED = ("numpy", "safetensors.numpy", "torch", "torch.utils.data", "torch._dynamo")  # for optimizers
NAMESPACES = {
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "pid": 0x20000000,
    "mnt": 0x00020000,
}
CONTROL_GROUPS = {
    "name=systemd": ("/sys/fs/cgroup/systemd",),
    "": ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"),
}
Request = dict[str, Any]


def main() -> None:
    """Serves until the owner ends; removes then what it has in the folder for temporary files."""
    for name in PRELOADED:
        __import__(name)
    serve(sys.argv[1], int(sys.argv[2]), run)
    shutil.rmtree(Path(tempfile.gettempdir()) / sys.argv[1], ignore_errors=True)


def serve(address: str, owner: int, run: Callable[[Request], int]) -> None:
    """Fork a process for each request, which `run` carries out, until the process `owner` ends."""
    owner_ended = os.pidfd_open(owner)
    gc.collect()
    gc.freeze()  # the pages of what is imported stay shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the monitors
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind("\0" + address)
        listener.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while owner_ended not in select.select([listener, owner_ended], [], [])[0]:
            line, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                monitor(line, run)
            line.close()


def monitor(line: socket.socket, run: Callable[[Request], int]) -> None:
    """Fork the process, forward signals and report its end; kill it when the requester has ended."""
    message, fds, _, _ = socket.recv_fds(line, 1 << 20, 3)
    while not message.endswith(b"\n"):
        message += line.recv(1 << 20)
    request = json.loads(message)
    pid, uid, gid = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups = control_groups(pid)
    enter(pid)
    child = os.fork()
    if child == 0:
        line.close()
        for group in groups:
            os.write(group, b"0")
            os.close(group)
        become(uid, gid)
        prepare(request, fds)
        leave(run(request))
    for fd in (*fds, *groups):
        os.close(fd)
    line.sendall(b"%d\n" % child)
    ended = os.pidfd_open(child)
    while True:
        ready, _, _ = select.select([line, ended], [], [])
        if ended in ready:
            break
        numbers = line.recv(1 << 10).split()
        for number in map(int, numbers or [signal.SIGKILL]):
            os.kill(child, number)
        if not numbers:
            break
    status = os.waitpid(child, 0)[1]
    with contextlib.suppress(OSError):
        line.sendall(b"%d\n" % status)
    os._exit(0)


def control_groups(pid: int) -> list[int]:
    """Return the open `cgroup.procs` of the groups of systemd that a process is in and this one is not."""
    if os.geteuid() != 0:
        return []
    groups = []
    own = Path("/proc/self/cgroup").read_text().splitlines()
    for entry in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, hierarchy, path = entry.split(":", 2)
        for mount in CONTROL_GROUPS.get(hierarchy, ()) if entry not in own else ():
            file = Path(mount, path.lstrip("/"), "cgroup.procs")
            if file.exists():
                groups.append(os.open(file, os.O_WRONLY))
                break
    return groups


def enter(pid: int) -> None:
    """Enter the namespaces and root of a process; its process namespace applies to later forks."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    others = {
        kind: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
        for name, kind in NAMESPACES.items()
        if Path(f"/proc/{pid}/ns/{name}").readlink() != Path(f"/proc/self/ns/{name}").readlink()
    }
    root = os.open(f"/proc/{pid}/root", os.O_RDONLY)
    for kind, fd in others.items():
        if libc.setns(fd, kind):
            raise OSError(ctypes.get_errno(), f"setns {kind:#x}")
    if others:
        os.fchdir(root)
        os.chroot(".")


def become(uid: int, gid: int) -> None:
    if os.geteuid() == 0 and uid != 0:
        os.setgroups([gid])
        os.setgid(gid)
        os.setuid(uid)


def prepare(request: dict[str, Any], fds: list[int]) -> None:
    """Set this process up like a new `python -m MODULE WORDS`."""
    os.setsid()
    for target, fd in enumerate(fds):
        os.dup2(fd, target)
        os.close(fd)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    through = bool(os.environ.get("PYTHONUNBUFFERED"))
    for name, fd, errors in (("stdout", 1, "strict"), ("stderr", 2, "backslashreplace")):
        raw = io.FileIO(fd, "w", closefd=False)
        buffered = raw if through else io.BufferedWriter(raw)
        text = io.TextIOWrapper(
            buffered, "utf-8", errors, write_through=through, line_buffering=name == "stderr"
        )
        setattr(sys, name, text)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [str(Path.cwd()), *paths]
    sys.argv = ["-m", *request["words"]]
    sys.executable = request["python"]


def run(request: Request) -> int:
    return exit_code(lambda: runpy.run_module(request["module"], run_name="__main__", alter_sys=True))


def exit_code(program: Callable[[], object]) -> int:
    """Run the program; return the exit code that Python would exit with."""
    try:
        program()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def leave(code: int) -> None:
    """End the process without Python's finalization, which takes as long as importing PyTorch."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


if __name__ == "__main__":
    main()
