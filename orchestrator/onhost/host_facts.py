"""Collects the facts of this host: machine, tools, disk, GPUs, interpreters, stored code trees and data."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import sys
import time
from typing import TYPE_CHECKING, Mapping, NamedTuple, Sequence, TypedDict

from orchestrator.core import jsontext
from orchestrator.core.layout import Layout
from orchestrator.onhost import gpus, launching, processes

if TYPE_CHECKING:
    from orchestrator.onhost import uploads

# Prints the versions of the packages that argv names, without importing them; torch keeps the CUDA version
# that it was built for in version.py, which imports nothing.
_VERSIONS = (
    "import json,os,runpy,sys,importlib.metadata as m,importlib.util as u\n"
    "def v(n):\n"
    " try: return m.version(n)\n"
    " except Exception: return None\n"
    "def c():\n"
    " try: return runpy.run_path(os.path.join(\n"
    "  os.path.dirname(u.find_spec('torch').origin),'version.py')).get('cuda')\n"
    " except Exception: return None\n"
    "print(json.dumps(dict({n:v(n) for n in sys.argv[1:]},path=sys.executable,cuda=c(),"
    "version='%d.%d.%d'%sys.version_info[:3])))"
)
_FIRST_USER_ID = 1000  # logind does not clean up after users with a lower id

_GPU_SECONDS = 30.0  # for nvidia-smi, which takes 7 s and more where it has to load the driver


class Disk(TypedDict):
    """In bytes. `inodes`: 0 where the file system creates them on demand."""

    free: int
    total: int
    free_inodes: int
    inodes: int


class Memory(TypedDict):
    """In bytes; `available` without swapping."""

    total: int
    available: int


class Machine(TypedDict):
    """The facts of this machine that `status` shows. `gpus`: None where they cannot be read."""

    hostname: str
    root: str
    tmux_socket: str
    gpus: list[Mapping[str, object]] | None
    disk: Disk
    memory: Memory


class Logout(TypedDict):
    """What systemd-logind does when the last session of `user` ends.

    `kills`: it kills the user's processes. `removes`: it removes POSIX shared memory and semaphores.
    """

    kills: bool
    removes: bool
    user: str


class HostFacts(Machine):
    """`trees`: the requested ones that are stored here. `pythons`: see python_facts. `missing_commands`: the
    requested ones that are not on PATH. `clock`: seconds since 1970."""

    system: str
    home: str
    tmux: str | None
    cpus: int
    gpu_processes: list[Mapping[str, object]]
    trees: list[str]
    pythons: list[dict[str, str | None]]
    data_folders: dict[str, Mapping[str, object] | None]
    rsync: str | None
    missing_commands: list[str]
    boot: str
    path: str
    cuda_driver: str | None
    logout: Logout | None
    addresses: list[str]
    uploads: dict[str, uploads.StoredData]
    containers: Mapping[str, object] | None
    clock: float


class Request(NamedTuple):
    """The parameters of `gather`; each may be empty.

    `trees`: hashes of code trees. `pythons`: interpreters to examine, `packages`: whose versions each of them
    reports. `data_folders`: name → path on this host. `commands`: to be found on PATH. `uploads`: name →
    fingerprint of data to be sent. `image`: of a container; empty to describe the engine alone.
    """

    trees: Sequence[str] = ()
    pythons: Sequence[str] = ()
    data_folders: Mapping[str, str] = {}
    commands: Sequence[str] = ()
    uploads: Mapping[str, str] = {}
    packages: Sequence[str] = ()
    image: str | None = None


def gather(layout: Layout, request: Request) -> HostFacts:
    from orchestrator.onhost import engines, uploads  # noqa: PLC0415 - `status` needs neither

    pythons = dict.fromkeys(shutil.which(word) or word for word in request.pythons)
    return {
        "system": sys.platform,
        "home": os.path.expanduser("~"),
        "tmux": launching.tmux_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "gpu_processes": [process._asdict() for process in gpu_processes()],
        "trees": [tree for tree in request.trees if os.path.isdir(layout.tree(tree))],
        "pythons": [facts for path in pythons if (facts := python_facts(path, request.packages))],
        "data_folders": {name: _data_folder(name, path) for name, path in request.data_folders.items()},
        "rsync": shutil.which("rsync"),
        "missing_commands": [word for word in request.commands if shutil.which(word) is None],
        "boot": processes.boot(),
        "path": os.environ.get("PATH", os.defpath),
        "cuda_driver": gpus.cuda(),
        "logout": logout_effects(),
        "addresses": addresses(),
        "uploads": {name: uploads.received(layout, name, print_) for name, print_ in request.uploads.items()},
        "containers": None if request.image is None else engines.facts(request.image),
        **machine(layout, _GPU_SECONDS),
        "clock": time.time(),  # last: what is before may take its time
    }


def machine(layout: Layout, gpu_timeout: float = 5) -> Machine:
    root = _existing(layout.root)
    disk, inodes = shutil.disk_usage(root), os.statvfs(root)
    return {
        "hostname": os.uname().nodename,
        "root": layout.root,
        "tmux_socket": layout.tmux_socket,
        "gpus": None if (sample := gpus.sample(gpu_timeout)) is None else [vars(gpu) for gpu in sample],
        "disk": {
            "free": disk.free,
            "total": disk.total,
            "free_inodes": inodes.f_favail,
            "inodes": inodes.f_files,
        },
        "memory": _memory(),
    }


def addresses() -> list[str]:
    """Returns the IPv4 addresses of this machine, the one of its default route first; none of loopback.

    IPv6 ones where it has no others: programs of a run may listen on IPv4 alone.
    """
    import socket  # noqa: PLC0415 - `status` needs none

    texts = processes.output(["hostname", "-I"], timeout=10).split()
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # chooses a route; nothing is sent
        texts.insert(0, str(probe.getsockname()[0]))
    routable = [one for one in dict.fromkeys(texts) if not one.startswith(("127.", "::1", "fe80:"))]
    return [one for one in routable if ":" not in one] or routable


def gpu_processes() -> list[gpus.GpuProcess]:
    """Returns the processes that use GPU memory, each with the id of its run (None if it has none)."""
    return [process._replace(run=_run_of(process.pid)) for process in gpus.processes()]


def python_facts(word: str, packages: Sequence[str] = ()) -> dict[str, str | None] | None:
    """Returns path and versions of an interpreter and packages, without importing these; None if it fails."""
    words = [word, "-c", _VERSIONS, "torch", "numpy", "safetensors", *packages]
    try:
        return jsontext.parse_object(processes.output(words, timeout=30, cwd="/"))
    except jsontext.BadJson:
        return None


def logout_effects() -> Logout | None:
    """Returns what systemd-logind does when this user's last session ends; None if it does nothing."""
    uid = os.getuid()
    if uid < _FIRST_USER_ID:
        return None
    text = _loginctl("show-session", "--property=KillUserProcesses", "--property=RemoveIPC")
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:  # in a container started with `--user UID`
        user = str(uid)
    if "=yes" not in text or "Linger=yes" in _loginctl("show-user", user, "--property=Linger"):
        return None
    return {"kills": "KillUserProcesses=yes" in text, "removes": "RemoveIPC=yes" in text, "user": user}


def _loginctl(*words: str) -> str:
    return processes.output(["loginctl", "--no-pager", *words])


def _data_folder(name: str, path: str) -> Mapping[str, object] | None:
    from orchestrator.onhost import folders  # noqa: PLC0415 - `status` does not need it

    path = os.path.abspath(os.path.expanduser(path))
    return folders.describe(name, path)._asdict() if os.path.exists(path) else None


def _existing(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _memory() -> Memory:
    with open("/proc/meminfo") as handle:
        fields = dict(line.split(":", 1) for line in handle)
    total, available = (int(fields.get(name, "0 kB").split()[0]) for name in ("MemTotal", "MemAvailable"))
    return {"total": total * 1024, "available": available * 1024}


def _run_of(pid: int | None) -> str | None:
    """Returns the id of the run that a process belongs to; None if its environment cannot be read."""
    return processes.variable(pid, "GPUJOB_RUN_ID") if pid else None
