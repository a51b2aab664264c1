"""The GPUs of a host on the screen of `monitor`, with their use over its last refreshes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import msgspec
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from orchestrator.core.hostfacts import Machine
from orchestrator.view.console import condense, sparkline
from orchestrator.view.status import gpus

_KEPT = 600  # samples of each GPU
_CELLS = 16
_ROWS_PER_GPU = 6  # a terminal has this many rows for each GPU, or one line names all of them


class GpuHistory:
    """The use of each GPU at each refresh."""

    def __init__(self) -> None:
        self._uses: dict[str, deque[float]] = {}

    def add(self, machine: Machine) -> None:
        for gpu in machine.gpus or ():
            uses = self._uses.setdefault(gpu.uuid or str(gpu.index), deque(maxlen=_KEPT))
            if gpu.use_percent is not None:
                uses.append(float(gpu.use_percent))

    def lines(self, machine: Machine, height: int) -> Iterator[RenderableType]:
        """A line for each GPU; one line for all where the terminal is low, and where there is none."""
        gpus_of_host = machine.gpus or ()
        if not gpus_of_host or len(gpus_of_host) * _ROWS_PER_GPU > height:
            yield Text(f"{machine.hostname}: {gpus(machine.gpus)}", "dim")
            return
        for gpu in gpus_of_host:
            uses = list(self._uses.get(gpu.uuid or str(gpu.index), ()))
            parts = [
                f"GPU {gpu.index} {gpu.name}".strip(),
                f"{_shown(gpu.use_percent)} %",
                f"{_shown(gpu.used_mib)}/{_shown(gpu.total_mib)} MiB",
                f"{gpu.watts}/{_shown(gpu.watts_limit)} W" if gpu.watts is not None else "",
                f"{gpu.celsius} °C" if gpu.celsius is not None else "",
                _bars(uses) if len(uses) > 1 else "",
            ]
            yield Words([Text(part, "dim") for part in parts if part])


def _bars(uses: list[float]) -> str:
    """On a scale from 0 to 100 %, whatever the values are."""
    shown = condense(uses, _CELLS)
    return sparkline([0.0, 100.0, *shown], len(shown) + 2)[2:]


def _shown(value: int | None) -> str:
    return "?" if value is None else str(value)


class Words(msgspec.Struct, frozen=True):
    """Words that stay whole where the line is wide enough for each of them."""

    words: Sequence[Text]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = Text()
        for word in self.words:
            if line and line.cell_len + 2 + word.cell_len > options.max_width:
                yield line
                line = Text()
            line.append("  " if line else "").append_text(word)
        yield line
