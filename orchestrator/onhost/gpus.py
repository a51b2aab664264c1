"""What nvidia-smi says; no GPU, no driver or a hung one is an empty list, never an error."""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import subprocess
from typing import Any

_GPU = "index,name,memory.used,memory.total,utilization.gpu,temperature.gpu,uuid,driver_version"
_CUDA = re.compile(r"CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)")
_APPS = "gpu_uuid,pid,process_name,used_memory"


def sample() -> list[dict[str, Any]]:
    """One dict a GPU: memory in MiB, use in per cent, None where the card does not say."""
    names = ["index", "name", "used_mib", "total_mib", "use_percent", "celsius", "uuid", "driver"]
    rows = _query("--query-gpu=" + _GPU, len(names))
    return [
        {n: v if n in ("name", "uuid", "driver") else _number(v) for n, v in zip(names, row)} for row in rows
    ]


def holders() -> list[dict[str, Any]]:
    """The processes that hold GPU memory: pid, name, MiB, and the user where /proc tells."""
    return [
        {
            "gpu": row[0],
            "pid": _number(row[1]),
            "name": row[2],
            "used_mib": _number(row[3]),
            "user": _user(row[1]),
        }
        for row in _query("--query-compute-apps=" + _APPS, 4)
    ]


def held_by(gpus: list[dict[str, Any]], pids: list[int]) -> list[dict[str, Any]]:
    """Those of `gpus` that these processes hold; all, where the driver names no process (in a container)."""
    found = holders()
    ours = {holder["gpu"] for holder in found if holder["pid"] in pids}
    return [gpu for gpu in gpus if not found or gpu["uuid"] in ours]


def cuda() -> str | None:
    """The newest CUDA that the driver runs, such as `12.4`; None where there is no driver to ask."""
    version = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) == 0:
            return "%d.%d" % (version.value // 1000, version.value % 1000 // 10)
    except (OSError, AttributeError):
        pass
    found = _CUDA.search(_said([]))
    return found.group(1) if found else None


def _user(pid: str) -> str | None:
    try:
        return pwd.getpwuid(os.stat("/proc/" + pid).st_uid).pw_name
    except (OSError, KeyError):
        return None


def _query(what: str, columns: int) -> list[list[str]]:
    said = _said([what, "--format=csv,noheader,nounits"])
    rows = [[c.strip() for c in line.split(",")] for line in said.splitlines()]
    return [row for row in rows if len(row) == columns]


def _said(words: list[str]) -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.decode(errors="replace")


def _number(text: str) -> Any:
    try:
        return int(float(text))
    except ValueError:
        return None
