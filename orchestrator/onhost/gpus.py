"""Reads GPUs from nvidia-smi. A GPU whose driver fails or hangs is reported as unknown, not as absent."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import re
import shutil
from typing import NamedTuple, Sequence

from orchestrator.onhost import processes as host_processes

_GPU = "index,name,memory.used,memory.total,utilization.gpu,temperature.gpu,uuid,driver_version"
_POWER = ",power.draw,power.limit"  # in watts
_PROCESS = "gpu_uuid,pid,process_name,used_memory"
_CUDA = re.compile(r"CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)")


class Gpu:
    """A GPU as nvidia-smi reports it. Memory is in MiB; a value that the card does not report is None."""

    def __init__(
        self,
        index: int | None,
        name: str,
        used_mib: int | None,
        total_mib: int | None,
        use_percent: int | None,
        celsius: int | None,
        uuid: str,
        driver: str,
        watts: int | None = None,
        watts_limit: int | None = None,
    ) -> None:
        self.index = index
        self.name = name
        self.used_mib = used_mib
        self.total_mib = total_mib
        self.use_percent = use_percent
        self.celsius = celsius
        self.uuid = uuid
        self.driver = driver
        self.watts = watts
        self.watts_limit = watts_limit


class GpuProcess(NamedTuple):
    """A process that uses memory of the GPU with the uuid `gpu`; `run` is filled in by host_facts."""

    gpu: str
    pid: int | None
    name: str
    used_mib: int | None
    user: str | None
    run: str | None = None


def sample(timeout: float = 5) -> list[Gpu] | None:
    """Returns every GPU with its present use; one call of nvidia-smi, which may take `timeout` seconds.

    None if the GPUs cannot be read: nvidia-smi fails or takes longer, or is missing beside an NVIDIA GPU.
    """
    rows = [[*row, "", ""][:10] for row in _query("--query-gpu=" + _GPU + _POWER, (8, 10), timeout)]
    if not rows and (shutil.which("nvidia-smi") or _has_nvidia_device()):
        return None
    return [_gpu(row) for row in rows]


def _gpu(row: list[str]) -> Gpu:
    index, name, used, total, use, celsius, uuid, driver, *power = row
    numbers = (_number(used), _number(total), _number(use), _number(celsius))
    return Gpu(_number(index), name, *numbers, uuid, driver, *map(_number, power))


def processes() -> list[GpuProcess]:
    """Returns the processes that use GPU memory."""
    return [
        GpuProcess(row[0], _number(row[1]), row[2], _number(row[3]), _user(row[1]))
        for row in _query("--query-compute-apps=" + _PROCESS, (4,))
    ]


def used_by(pids: Sequence[int], gpus: Sequence[Gpu]) -> list[Gpu]:
    """Returns the GPUs that these processes use; all, if the driver lists no process (in a container)."""
    users = processes()
    uuids = {process.gpu for process in users if process.pid in pids}
    return [gpu for gpu in gpus if not users or gpu.uuid in uuids]


def cuda() -> str | None:
    """Returns the newest CUDA version that the driver supports, such as `12.4`; None without a driver."""
    import ctypes  # noqa: PLC0415 - only `deploy` asks for it

    version = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) == 0:
            return "%d.%d" % (version.value // 1000, version.value % 1000 // 10)
    except (OSError, AttributeError):
        pass
    match = _CUDA.search(host_processes.output(["nvidia-smi"]))
    return match.group(1) if match else None


def _user(pid: str) -> str | None:
    try:
        return pwd.getpwuid(os.stat("/proc/" + pid).st_uid).pw_name
    except (OSError, KeyError):
        return None


def _has_nvidia_device(folder: str = "/sys/bus/pci/devices") -> bool:
    """Returns whether the machine has a GPU of NVIDIA on its PCI bus."""
    for path in glob.glob(folder + "/*/vendor"):
        with contextlib.suppress(OSError), open(path) as vendor:
            if vendor.read().strip() == "0x10de":
                return True
    return False


def _query(what: str, columns: Sequence[int], timeout: float = 5) -> list[list[str]]:
    text = host_processes.output(["nvidia-smi", what, "--format=csv,noheader,nounits"], timeout)
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [row for row in rows if len(row) in columns]


def _number(text: str) -> int | None:
    try:
        return int(float(text))
    except ValueError:
        return None
