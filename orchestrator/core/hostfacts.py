"""What a host says of itself → typed facts (orchestrator/onhost/host_facts.py). None means unknown. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from orchestrator.core import decode
from orchestrator.core.decode import Count
from orchestrator.core.runfacts import RunFacts, parse_run


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


class PythonFacts(msgspec.Struct, frozen=True):
    """An interpreter of the host. `cuda`: the version that its torch was built for. `packages`: the version
    of each requested one, None where it is not installed."""

    path: str
    version: str = ""
    torch: str | None = None
    cuda: str | None = None
    packages: dict[str, str | None] = {}


class Logout(msgspec.Struct, frozen=True):
    """What systemd-logind does when `user` logs out: whether it kills processes, removes shared memory."""

    user: str = ""
    kills: bool = False
    removes: bool = False


class DataCopy(msgspec.Struct, frozen=True):
    """How much of a data folder is on the host: all of it, or `bytes` and `files` that need no room again."""

    present: bool = False
    bytes: Count = 0
    files: Count = 0


class FolderFacts(msgspec.Struct, frozen=True):
    """A data folder that is on the host already."""

    path: str
    files: Count = 0
    bytes: Count = 0
    fingerprint: str = ""


class LiveRun(msgspec.Struct, frozen=True):
    """A run that has a process, or waits in the queue."""

    id: str
    job: str | None = None


class Containers(msgspec.Struct, frozen=True):
    """The container engine of a host. `problem`: why none can be used, with its `detail`.

    `image_id`: of the job's image, None where the host does not have it. `gives_gpus`: to containers.
    """

    program: str = ""
    kind: str = ""
    version: str = ""
    is_rootless: bool = False
    gives_gpus: bool = False
    image_id: str | None = None
    problem: str | None = None
    detail: str = ""


class HostFacts(Machine, frozen=True, kw_only=True):
    """What a plan needs to know of a host.

    `tmux`: what `tmux -V` prints, None where it is not installed. `cuda_driver`: the newest CUDA that the
    NVIDIA driver runs. `trees`: the requested code trees that are on the host. `missing_commands`: the
    requested ones that are not on the PATH. `data_folders`: the requested ones by name, None where absent.
    `uploads`: how much of the data to be sent is on the host, by name. `containers`: None where not asked.
    `addresses`: its own ones, by which other hosts may reach it, the most likely first. `clock`: its time.
    """

    tmux: str | None = None
    rsync: str | None = None
    path: str = ""
    cuda_driver: str | None = None
    logout: Logout | None = None
    trees: tuple[str, ...] = ()
    missing_commands: tuple[str, ...] = ()
    live_runs: tuple[LiveRun, ...] = ()
    queued_runs: tuple[LiveRun, ...] = ()
    gpu_processes: tuple[GpuProcess, ...] = ()
    pythons: tuple[PythonFacts, ...] = ()
    uploads: dict[str, DataCopy] = msgspec.field(default_factory=dict)
    data_folders: dict[str, FolderFacts | None] = msgspec.field(default_factory=dict)
    containers: Containers | None = None
    addresses: tuple[str, ...] = ()
    clock: float | None = None

    @property
    def has_only_python3(self) -> bool:
        """Whether `python` was looked for and is missing, and python3 is there."""
        return "python" in self.missing_commands and "python3" not in self.missing_commands


def parse(answer: Mapping[str, object]) -> HostFacts:
    """The answer to `host_facts`."""
    listed = answer.get("pythons")
    each = listed if isinstance(listed, list) else []
    pythons = [parse_python(one) if isinstance(one, dict) else one for one in each]
    return decode.struct({**answer, "pythons": pythons}, HostFacts) or HostFacts()


def parse_python(answer: Mapping[str, object]) -> PythonFacts:
    """What onhost/host_facts.python_facts returns: every package beside the interpreter's own facts."""
    own = ("path", "version", "torch", "cuda")
    packages = {name: version for name, version in answer.items() if name not in own}
    return decode.struct({**answer, "packages": packages}, PythonFacts) or PythonFacts("")


class HostSnapshot(msgspec.Struct, frozen=True):
    """A host and its runs, oldest first."""

    machine: Machine
    runs: tuple[RunFacts, ...]


def parse_snapshot(answer: Mapping[str, object]) -> HostSnapshot:
    """The answer to `look`. A run that cannot be read is left out; the others are as they are."""
    runs = answer.get("runs")
    parsed = (parse_run(run) for run in (runs if isinstance(runs, list) else ()))
    machine = decode.struct(decode.one_line({**answer, "runs": ()}), Machine) or Machine()
    return HostSnapshot(machine, tuple(run for run in parsed if run))
