"""Which GPUs a run may use: `lease.json` in its folder, by which it sees no other. It outlives crashes.

A lease counts for as long as its run is alive, by the rules that tell whether any run is (see allocation).
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from orchestrator.core.layout import RunPaths
from orchestrator.onhost import files

SLOT = "slot"  # of a host without GPUs
VISIBLE = "CUDA_VISIBLE_DEVICES"


class Lease(NamedTuple):
    """GPUs by uuid, and by their index at that time. `taken`: seconds since 1970; `boot`: see processes."""

    gpus: tuple[str, ...]
    indexes: tuple[int, ...]
    taken: float = 0.0
    host: str = ""
    machine: str = ""
    boot: str = ""


def load(paths: RunPaths) -> Lease | None:
    """Returns the lease of a run, whether or not the run has ended; None if it has none."""
    value = files.load(paths.lease)
    if value is None:
        return None
    indexes = tuple(n for n in value.get("indexes", list) or () if isinstance(n, int))
    words = [value.text(key) or "" for key in ("host", "machine", "boot")]
    return Lease(tuple(value.texts("gpus")), indexes, value.number("taken") or 0.0, *words)


def take(paths: RunPaths, run_id: str, lease: Lease) -> None:
    """Writes the lease of a run that is about to be started."""
    files.write_json(paths.lease, {"v": 1, "run": run_id, **lease._asdict()})


def release(paths: RunPaths) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(paths.lease)


def variables(paths: RunPaths) -> dict[str, str]:
    """Returns the variables by which the run sees the GPUs of its lease only; empty if it has no lease."""
    lease = load(paths)
    if lease is None or SLOT in lease.gpus:
        return {}
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", VISIBLE: ",".join(map(str, lease.indexes))}
