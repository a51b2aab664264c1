"""Types for the contents of run.json and state.json (docs/contract.md).

A missing or damaged key gets its default.
"""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, TypedDict

from orchestrator.core.jsontext import Object
from orchestrator.core.paths import inside
from orchestrator.onhost import files
from orchestrator.onhost.processes import Identity, Process

DEFAULT_GRACE = 60.0  # seconds between SIGTERM and SIGKILL of a run whose job sets none
_LISTS = ("gpus", "gpu_use", "shared_memory", "processes", "left", "ended_processes")
_NUMBERS = ("first_started", "started", "heartbeat", "used_seconds", "ended")
_STATE: dict[str, type] = {
    **dict.fromkeys(("id", "boot", "host", "machine", "reason", "by"), str),
    **dict.fromkeys(("gpus", "left", "ended_processes"), list),
    **dict.fromkeys(("attempt", "restarts", "exit_code", "signal", "log_bytes", "events_bytes"), int),
    "group": dict,
}


class Notify(NamedTuple):
    """Where alerts go, and which. `webhook_env`: the variable that holds the URL, empty for none."""

    webhook_env: str
    format: str
    command: list[str]
    events: list[str]


class GpuUse(TypedDict):
    """How much a run used a GPU. `use_percent`: the mean of `samples`; `used_mib`: the most of its memory."""

    uuid: str
    name: str
    total_mib: int | None
    samples: int
    use_percent: float
    used_mib: int


class GroupSpec(NamedTuple):
    """A run over several hosts, as one of them has it. `hosts`: as the user typed them, rank 0 first.

    `addresses` and `port`: where the supervisor of rank 0 may be reached. `key`: what all of them know.
    """

    rank: int
    hosts: list[str]
    addresses: list[str]
    port: int
    key: str


class RunSpec(NamedTuple):
    """The specification that a run was started with.

    `record` is the content of run.json; the other fields are parsed from it.
    """

    record: Object
    id: str
    created: float | None
    job: str | None
    mark: str
    argv: list[str]
    env: dict[str, str]
    config: Mapping[str, object]
    data: dict[str, str]
    trainer: str | None
    code_tree: str | None
    trainers_tree: str | None
    gpus: int
    max_hours: float | None
    idle_minutes: float | None
    grace_seconds: float
    max_restarts: int
    outputs: list[str]
    kills_detached: bool = False
    notify: Notify | None = None
    budget_hours: float | None = None
    pass_env: tuple[str, ...] = ()
    setup_folder: str | None = None
    image: str | None = None
    image_id: str | None = None
    group: GroupSpec | None = None

    @staticmethod
    def parse(record: dict[str, Any], faults: list[str] | None = None) -> RunSpec:
        run = Object(record, faults, "run.json: ")
        limits, data = run.child("limits"), run.child("data")
        return RunSpec(
            record=run,
            id=run.text("id") or "",
            created=run.number("created"),
            job=run.text("job"),
            mark=run.text("mark") or "",
            argv=run.texts("argv"),
            env=run.child("env").all_texts(),
            config=run.child("config").values,
            data={name: data.child(name).text("path") or "" for name in data.values},
            trainer=run.text("trainer"),
            code_tree=run.child("code").text("tree"),
            trainers_tree=run.child("trainers").text("tree"),
            gpus=run.child("resources").integer("gpus") or 0,
            max_hours=limits.number("max_hours"),
            idle_minutes=limits.number("idle_minutes"),
            grace_seconds=DEFAULT_GRACE if (grace := limits.number("grace_seconds")) is None else grace,
            max_restarts=run.child("restart").integer("max") or 0,
            outputs=run.texts("outputs"),
            kills_detached=run.text("detach") == "kill",
            notify=_notify(run.child("notify")),
            budget_hours=limits.number("budget_hours"),
            pass_env=tuple(run.texts("pass_env")),
            setup_folder=run.child("python").text("setup_folder"),
            image=run.child("image").text("name"),
            image_id=run.child("image").text("id"),
            group=_group(run),
        )

    @staticmethod
    def load(path: str, faults: list[str] | None = None) -> RunSpec | None:
        """Returns the specification in the file `path`; None if it cannot be read.

        `faults` receives why, and each key with a value of the wrong type.
        """
        record = files.load_json(path, faults)
        return None if record is None else RunSpec.parse(record, faults)


class AbsentHost(TypedDict):
    host: str
    since: float


class _GroupState(TypedDict):
    rank: int
    hosts: list[str]
    absent: list[AbsentHost]


class GroupState(_GroupState, total=False):
    """How a host takes part in a run over several. `problem`: why rank 0 is not reached."""

    problem: str


class State:
    """The content of state.json, which the supervisor rewrites at every heartbeat.

    Times are seconds since 1970. `host` and `machine`: name and machine-id. `processes`: those of the run, by
    `processes.identity`. `left`: those that the supervisor may not signal, by `processes.describe`.
    `ended_processes`: those that it ended after the command had ended. `restarts`: how many of the job's
    restarts are used since a user started or resumed the run. `group`: of a run over several hosts, its
    `rank`, `hosts` and those that are `absent`, each with `host` and `since`; `problem`: why rank 0 is not
    reached. `events_bytes`: the size of events.jsonl when the supervisor started.
    """

    id: str = ""
    boot: str = ""
    host: str = ""
    machine: str = ""
    supervisor: Identity | None = None
    child: Identity | None = None
    attempt: int = 0
    restarts: int = 0
    first_started: float = 0.0
    started: float = 0.0
    heartbeat: float = 0.0
    used_seconds: float = 0.0
    gpus: list[Mapping[str, object]]
    gpu_use: list[GpuUse]
    shared_memory: list[str]
    processes: list[Identity]
    left: list[Process]
    ended_processes: list[Process]
    ended: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    by: str | None = None
    log_bytes: int | None = None
    events_bytes: int | None = None
    group: GroupState | None = None
    v: int = 1

    def __init__(self, **values: Any) -> None:
        """Sets every field, in their order: `vars` of a state is the JSON object to be written."""
        assert values.keys() <= _DEFAULTS.keys(), values
        vars(self).update({**_DEFAULTS, **{name: [] for name in _LISTS}, **values})

    def replace(self, **changes: Any) -> State:
        return State(**{**vars(self), **changes})

    @staticmethod
    def load(path: str, faults: list[str] | None = None) -> State | None:
        """Returns the state in the file `path`; None if the file cannot be read or holds no JSON object.

        `faults` receives why, and each key with a value of the wrong type.
        """
        state = files.load(path, faults)
        if state is None:
            return None
        values = {name: state.get(name, kind) for name, kind in _STATE.items()}
        values.update({name: state.number(name) for name in _NUMBERS})
        values["shared_memory"] = [path for path in state.texts("shared_memory") if _is_shared_memory(path)]
        values.update({name: identity(state.child(name)) for name in ("supervisor", "child")})
        values["gpu_use"] = [use for each in state.children("gpu_use") if (use := _gpu_use(each))]
        values["processes"] = [one for each in state.children("processes") if (one := identity(each))]
        return State(**{name: value for name, value in values.items() if value is not None})


_DEFAULTS = {name: getattr(State, name, None) for name in State.__annotations__}


def _group(run: Object) -> GroupSpec | None:
    """Returns how the host takes part in a run over several; None for a run on one host."""
    value = run.child("group")
    rank, hosts, port = value.integer("rank"), value.texts("hosts"), value.integer("port")
    if rank is None or port is None or not 0 <= rank < len(hosts):
        return None
    return GroupSpec(
        rank, hosts, value.texts("addresses") or ["127.0.0.1"], port, run.text("group_key") or ""
    )


def _notify(value: Object) -> Notify | None:
    """Returns where alerts go; None for a run without any."""
    url, command, events = value.text("webhook_env") or "", value.texts("command"), value.texts("events")
    has_channel = events and (url or command)
    return Notify(url, value.text("format") or "auto", command, events) if has_channel else None


def _gpu_use(value: Object) -> GpuUse | None:
    """Returns how a GPU was used; None if a part of it is missing."""
    uuid, samples, mean = value.text("uuid"), value.integer("samples"), value.number("use_percent")
    used = value.integer("used_mib")
    if uuid is None or samples is None or mean is None or used is None or samples < 0:
        return None
    name, total = value.text("name") or "", value.integer("total_mib")
    return GpuUse(uuid=uuid, name=name, total_mib=total, samples=samples, use_percent=mean, used_mib=used)


def _is_shared_memory(path: str) -> bool:
    """Returns whether the path, which `clean` deletes, is below /dev/shm."""
    return path.startswith("/dev/shm/") and inside(path[len("/dev/shm/") :])


def identity(process: Object) -> Identity | None:
    """Returns pid and start time of a process; None if either is missing."""
    pid, ticks = process.integer("pid"), process.integer("ticks")
    return None if pid is None or ticks is None or pid <= 0 else {"pid": pid, "ticks": ticks}
