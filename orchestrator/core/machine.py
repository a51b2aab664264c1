"""A host as `status` shows it: GPUs, disk, memory. None means unknown."""

from __future__ import annotations

import msgspec

from orchestrator.core.decode import Count


class Gpu(msgspec.Struct, frozen=True):
    """Memory in MiB, use in per cent, power in watts; None where the card does not report it."""

    index: Count | None = None
    name: str = ""
    used_mib: Count | None = None
    total_mib: Count | None = None
    use_percent: Count | None = None
    celsius: Count | None = None
    uuid: str = ""
    driver: str = ""
    watts: Count | None = None
    watts_limit: Count | None = None


class GpuProcess(msgspec.Struct, frozen=True):
    """A process that holds GPU memory; `run`: the run of gpujob that it belongs to."""

    name: str = ""
    pid: Count | None = None
    used_mib: Count | None = None
    user: str | None = None
    run: str | None = None

    def __str__(self) -> str:
        """`python of ana (pid 9, 700 MiB, run job-…)`."""
        user = f" of {self.user}" if self.user else ""
        run = f", run {self.run}" if self.run else ""
        return f"{self.name}{user} (pid {self.pid}, {self.used_mib} MiB{run})"


class Disk(msgspec.Struct, frozen=True):
    """Bytes and inodes below the root folder; `inodes` 0: the file system creates them as needed."""

    free: Count = 0
    total: Count = 0
    free_inodes: Count = 0
    inodes: Count = 0


class Memory(msgspec.Struct, frozen=True):
    """Bytes; `available` without swapping."""

    total: Count = 0
    available: Count = 0


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What `status` shows of a host. `gpus`: None where they could not be queried."""

    hostname: str = ""
    root: str = ""
    tmux_socket: str = ""
    gpus: tuple[Gpu, ...] | None = None
    disk: Disk = Disk()
    memory: Memory = Memory()
