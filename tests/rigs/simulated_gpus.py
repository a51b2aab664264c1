"""nvidia-smi for a host that has no GPU: cards that nothing but the jobs of a test looks at."""

from __future__ import annotations

from pathlib import Path

from tests.support import Client


def install(client: Client, count: int) -> Path:
    """Give the host of local runs this many GPUs. Return the file whose lines are programs on them.

    A line is `uuid, pid, name, MiB`; the uuids are GPU-0, GPU-1, ...
    """
    folder = client.home / "simulated"
    folder.mkdir(exist_ok=True)
    programs = folder / "programs"
    programs.touch()
    rows = "".join(f"echo '{n}, Simulated, 0, 1000, 0, 30, GPU-{n}, 1.0'\n" for n in range(count))
    tool = folder / "nvidia-smi"
    tool.write_text(
        f"#!/bin/sh\ncase $1 in\n--query-gpu*)\n{rows};;\n--query-compute*) cat {programs} ;;\n"
        "*) echo 'Driver Version: 1.0  CUDA Version: 13.0' ;;\nesac\n"
    )
    tool.chmod(0o755)
    client.env["PATH"] = f"{folder}:{client.env['PATH']}"
    return programs
