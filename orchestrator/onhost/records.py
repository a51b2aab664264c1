"""Types for the contents of run.json and state.json (docs/contract.md).

A missing or damaged key gets its default.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from orchestrator.onhost import files

DEFAULT_GRACE = 60.0  # seconds between SIGTERM and SIGKILL of a run whose job sets none
_T = TypeVar("_T")
_NUMBERS = ("first_started", "started", "heartbeat", "used_seconds", "ended")
_STATE: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "boot", "reason", "by"), str),
    **dict.fromkeys(("supervisor", "child"), dict),
    **dict.fromkeys(("gpus", "shared_memory"), list),
    **dict.fromkeys(("attempt", "exit_code", "signal", "log_bytes"), int),
    **dict.fromkeys(_NUMBERS, (int, float)),
}


@dataclass(frozen=True)
class RunSpec:
    """The specification that a run was started with.

    `record` is the content of run.json; the other fields are parsed from it.
    """

    record: dict[str, Any]
    id: str
    created: float | None
    job: str | None
    mark: str
    argv: list[str]
    env: dict[str, str]
    config: dict[str, Any]
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

    @staticmethod
    def parse(record: dict[str, Any]) -> RunSpec:
        limits, data = _object(record, "limits"), _object(record, "data")
        return RunSpec(
            record=record,
            id=_get(record, "id", ""),
            created=_number(record.get("created")),
            job=record.get("job"),
            mark=_get(record, "mark", ""),
            argv=_list(record, "argv"),
            env=_object(record, "env"),
            config=_object(record, "config"),
            data={name: _get(_object(data, name), "path", "") for name in data},
            trainer=record.get("trainer"),
            code_tree=_object(record, "code").get("tree"),
            trainers_tree=_object(record, "trainers").get("tree"),
            gpus=_get(_object(record, "resources"), "gpus", 0),
            max_hours=_number(limits.get("max_hours")),
            idle_minutes=_number(limits.get("idle_minutes")),
            grace_seconds=DEFAULT_GRACE if (grace := _number(limits.get("grace_seconds"))) is None else grace,
            max_restarts=_get(_object(record, "restart"), "max", 0),
            outputs=[name for name in _list(record, "outputs") if isinstance(name, str)],
        )

    @staticmethod
    def load(path: str) -> RunSpec | None:
        record = files.load_json(path)
        return None if record is None else RunSpec.parse(record)


@dataclass
class State:
    """The content of state.json, which the supervisor rewrites at every heartbeat.

    Times are seconds since 1970.
    """

    id: str = ""
    boot: str = ""
    supervisor: dict[str, int] | None = None
    child: dict[str, int] | None = None
    attempt: int = 0
    first_started: float = 0.0
    started: float = 0.0
    heartbeat: float = 0.0
    used_seconds: float = 0.0
    gpus: list[dict[str, Any]] = field(default_factory=list)
    shared_memory: list[str] = field(default_factory=list)
    ended: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    by: str | None = None
    log_bytes: int | None = None
    v: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def load(path: str) -> State | None:
        """Returns the state in the file `path`; None if the file cannot be read or holds no JSON object."""
        record = files.load_json(path)
        if record is None:
            return None
        values = {name: record[name] for name, kind in _STATE.items() if isinstance(record.get(name), kind)}
        for name in ("supervisor", "child"):
            if not all(isinstance(values.get(name, {}).get(key), int) for key in ("pid", "ticks")):
                values.pop(name, None)
        return State(**values)


def _get(record: dict[str, Any], key: str, default: _T) -> _T:
    """Returns the value of a key if it has the type of `default`, else `default`."""
    value = record.get(key)
    return value if isinstance(value, type(default)) else default


def _object(record: dict[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def _list(record: dict[str, Any], key: str) -> list[Any]:
    value = record.get(key)
    return value if isinstance(value, list) else []


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
