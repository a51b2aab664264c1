"""Several machines behind real sshds, and jobs that run on all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.host.machines import log_in_to, new_machine, plant_python
from tests.rigs.fakehost import FakeHost
from tests.support import Client

NAMES = (*"abcdefgh", *(f"host{number}" for number in range(92)))


@dataclass
class Machines:
    """Machines with the names a, b, …, h, host0, …, to which the client can log in."""

    client: Client
    machines: dict[str, FakeHost]

    @property
    def on(self) -> str:
        return ",".join(self.machines)

    def folder(self, name: str, run_id: str) -> Path:
        """The folder of a run on a machine."""
        return self.machines[name].home / ".gpujob" / "runs" / run_id


TWO_GPUS = """#!/bin/sh
case "$*" in
*query-gpu*) for i in 0 1; do echo "$i, Simulated, 0, 8000, 0, 30, GPU-$i, 550.0, 10, 70"; done ;;
esac
"""


@contextlib.contextmanager
def several(client: Client, count: int = 2) -> Iterator[Machines]:
    with contextlib.ExitStack() as stack:
        machines = {}
        for name in NAMES[:count]:
            machines[name] = stack.enter_context(new_machine(client, name))
            plant_python(client, machines[name])
            log_in_to(client, machines[name], name=name)
        yield Machines(client, machines)
