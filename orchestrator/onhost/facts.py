"""What a deploy wants to know of a host, in one answer."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from orchestrator.core import tmux
from orchestrator.core.layout import Layout
from orchestrator.onhost import datafolder, gpus, logind, proc
from orchestrator.onhost import trees as arrivals

_PROBE = (
    "import json,os,runpy,sys,importlib.metadata as m,importlib.util as u\n"
    "def v(n):\n"
    " try: return m.version(n)\n"
    " except Exception: return None\n"
    "def c():\n"  # what torch was built for stands in a file of its own, which imports nothing of it
    " try: return runpy.run_path(os.path.join(\n"
    "  os.path.dirname(u.find_spec('torch').origin),'version.py')).get('cuda')\n"
    " except Exception: return None\n"
    "print(json.dumps(dict({n:v(n) for n in sys.argv[1:]},path=sys.executable,cuda=c(),"
    "version='%d.%d.%d'%sys.version_info[:3])))"
)


def gather(
    layout: Layout,
    trees: list[str],
    pythons: list[str],
    standing: dict[str, str],
    commands: list[str],
    data: dict[str, str],
    packages: list[str],
) -> dict[str, Any]:
    """Machine, tools, disk, GPUs with who holds them, which of `trees` are here, which Pythons, and
    what stands in the data folders that are said to be here, which commands are absent, and what is here
    of `data` (fingerprints by name)."""
    return {
        "system": sys.platform,
        "home": os.path.expanduser("~"),
        "tmux": tmux_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "gpu_holders": gpu_holders(),
        "trees": [tree for tree in trees if os.path.isdir(layout.tree(tree))],
        "pythons": [found for found in (python_facts(word, packages) for word in pythons) if found],
        "standing": {name: _standing(name, path) for name, path in standing.items()},
        "rsync": shutil.which("rsync"),
        "absent": [word for word in commands if shutil.which(word) is None],
        "boot": proc.boot(),
        "path": os.environ.get("PATH", os.defpath),
        "cuda_driver": gpus.cuda(),
        "logout": logind.at_logout(),
        "data": {name: arrivals.arrived(layout, name, print_) for name, print_ in data.items()},
        **glance(layout),
    }


def gpu_holders() -> list[dict[str, Any]]:
    """As gpus.holders, each with the run that it is `ours` by, or None."""
    return [dict(holder, ours=_run_of(holder["pid"])) for holder in gpus.holders()]


def _standing(name: str, path: str) -> dict[str, Any] | None:
    path = os.path.abspath(os.path.expanduser(path))
    return vars(datafolder.describe(name, path)) if os.path.exists(path) else None


def glance(layout: Layout) -> dict[str, Any]:
    """What `status` shows of the machine itself; sizes in bytes."""
    disk = shutil.disk_usage(_existing(layout.root))
    nodes = os.statvfs(_existing(layout.root))
    return {
        "hostname": socket.gethostname(),
        "root": layout.root,
        "tmux_socket": layout.tmux_socket,
        "gpus": gpus.sample(),
        "disk": {
            "free": disk.free,
            "total": disk.total,
            "free_inodes": nodes.f_favail,
            "inodes": nodes.f_files,  # 0 where the file system makes them as it needs them
        },
        "memory": _memory(),
    }


def tmux_version() -> str | None:
    """What `tmux -V` prints; None where there is no tmux."""
    try:
        done = subprocess.run(["tmux", "-V"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    text = done.stdout.decode(errors="replace").strip()
    return text if tmux.parse_version(text) else None


def python_facts(word: str, packages: Sequence[str] = ()) -> dict[str, Any] | None:
    """Path, version and the versions of torch, numpy, safetensors and `packages`, without importing them."""
    try:
        done = subprocess.run(
            [word, "-c", _PROBE, "torch", "numpy", "safetensors", *packages],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=30,
            cwd="/",
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _existing(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _memory() -> dict[str, int]:
    """Bytes of memory: total, and what can be had without swapping."""
    found = {}
    with open("/proc/meminfo") as handle:
        for line in handle:
            name, _, value = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                found[name] = int(value.split()[0]) * 1024
    return {"total": found.get("MemTotal", 0), "available": found.get("MemAvailable", 0)}


def _run_of(pid: int | None) -> str | None:
    """The run that a process belongs to, if it is one of ours and may be read."""
    try:
        with open("/proc/%s/environ" % pid, "rb") as handle:
            for word in handle.read().split(b"\0"):
                if word.startswith(b"GPUJOB_RUN_ID="):
                    return word.split(b"=", 1)[1].decode(errors="replace")
    except OSError:
        pass
    return None
