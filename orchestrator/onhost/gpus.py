"""Reads GPUs from nvidia-smi, and samples how much a run uses them, from its start to its end.

A GPU whose driver fails or hangs is reported as unknown, not as absent.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import re
import shutil
import time
from typing import Callable, Iterable, NamedTuple, Sequence

from orchestrator.onhost import processes as host_processes
from orchestrator.onhost.records import GpuUse, State

_GPU = "index,name,memory.used,memory.total,utilization.gpu,temperature.gpu,uuid,driver_version"
_POWER = ",power.draw,power.limit"  # in watts
_PROCESS = "gpu_uuid,pid,process_name,used_memory"
SAMPLE_SECONDS = 15.0  # between two samples of a run
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
    try:
        import ctypes  # noqa: PLC0415 - only `deploy` asks for it

        version = ctypes.c_int()
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) == 0:
            return "%d.%d" % (version.value // 1000, version.value % 1000 // 10)
    except (ImportError, OSError, AttributeError):
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


class GpuWatch:
    """`own`: the GPUs that the run used at the last sample."""

    def __init__(self) -> None:
        self.own: list[Gpu] = []
        self._next = 0.0

    def look(self, state: State, members: Callable[[], list[int]]) -> None:
        """Samples the GPUs if it is time to, and records them in `state`. `members`: the run's processes."""
        if time.monotonic() < self._next:
            return
        cards = sample() or []
        state.gpus = [vars(gpu) for gpu in cards]
        self.own = used_by(members(), cards)
        state.gpu_use = add_use(state.gpu_use, self.own)
        self._next = time.monotonic() + SAMPLE_SECONDS


def add_use(before: Iterable[GpuUse], cards: Sequence[Gpu]) -> list[GpuUse]:
    """Returns the use so far with one more sample. `use_percent` is a mean, `used_mib` the greatest value."""
    uses = {use["uuid"]: use for use in before}
    for gpu in cards:
        use = uses.get(gpu.uuid) or GpuUse(
            uuid=gpu.uuid, name=gpu.name, total_mib=gpu.total_mib, samples=0, use_percent=0.0, used_mib=0
        )
        used = max(use["used_mib"], gpu.used_mib or 0)
        uses[gpu.uuid] = use = {**use, "used_mib": used}
        if gpu.use_percent is not None:
            count = use["samples"] + 1
            mean = use["use_percent"] + (gpu.use_percent - use["use_percent"]) / count
            uses[gpu.uuid] = {**use, "samples": count, "use_percent": round(mean, 3)}
    return list(uses.values())
