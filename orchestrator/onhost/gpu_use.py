"""How much a run uses its GPUs: samples of each, from the start of the run to its end, in state.json."""

from __future__ import annotations

import time
from typing import Callable, Iterable, Sequence

from orchestrator.onhost import gpus
from orchestrator.onhost.gpus import Gpu
from orchestrator.onhost.records import GpuUse, State

INTERVAL = 15.0  # seconds between two samples


class GpuWatch:
    """`own`: the GPUs that the run used at the last sample."""

    def __init__(self) -> None:
        self.own: list[Gpu] = []
        self._next = 0.0

    def look(self, state: State, members: Callable[[], list[int]]) -> None:
        """Samples the GPUs if it is time to, and records them in `state`. `members`: the run's processes."""
        if time.monotonic() < self._next:
            return
        sample = gpus.sample() or []
        state.gpus = [vars(gpu) for gpu in sample]
        self.own = gpus.used_by(members(), sample)
        state.gpu_use = add(state.gpu_use, self.own)
        self._next = time.monotonic() + INTERVAL


def add(before: Iterable[GpuUse], sample: Sequence[Gpu]) -> list[GpuUse]:
    """Returns the use so far with one more sample. `use_percent` is a mean, `used_mib` the greatest value."""
    uses = {use["uuid"]: use for use in before}
    for gpu in sample:
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
