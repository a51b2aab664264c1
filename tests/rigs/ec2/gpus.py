"""nvidia-smi on a simulated instance: the GPUs of its type, as AWS lists them, and the states of a driver."""

from __future__ import annotations

from moto.ec2.models.instance_types import INSTANCE_TYPES

DRIVERS = ("ok", "missing", "mismatch")
_MISMATCH = "Failed to initialize NVML: Driver/library version mismatch"


def nvidia_smi(type_: str, driver: str) -> str | None:
    """Return the script for an instance type; None if it has no GPU or no driver."""
    found = INSTANCE_TYPES.get(type_, {}).get("GpuInfo", {}).get("Gpus") or []
    if not found or found[0]["Manufacturer"] != "NVIDIA" or driver == "missing":
        return None
    if driver == "mismatch":
        return f"#!/bin/sh\necho '{_MISMATCH}'\nexit 18\n"
    name, mib = found[0]["Name"], found[0]["MemoryInfo"]["SizeInMiB"]
    rows = [f"{n}, NVIDIA {name}, 0, {mib}, 0, 30, GPU-{n}, 580.95" for n in range(found[0]["Count"])]
    lines = "\n".join(f"echo '{row}'" for row in rows)
    return (
        f"#!/bin/sh\ncase $1 in\n--query-gpu*)\n{lines}\n;;\n--query-compute*) ;;\n"
        "*) echo 'Driver Version: 580.95  CUDA Version: 13.0' ;;\nesac\n"
    )
