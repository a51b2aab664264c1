"""The job file → JobSpec. Unknown keys are refused with file:line and the nearest known key."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Literal, get_args

import msgspec

from orchestrator.core import containers, jobtext, s3, variables, yamltext
from orchestrator.core import notify as notifications
from orchestrator.core.notify import Notify
from orchestrator.core.paths import inside
from orchestrator.core.resources import Resources
from orchestrator.core.space import Sweep
from orchestrator.core.text import closest
from orchestrator.errors import UsageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}\Z")
MASTER = re.compile(
    r"(([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?|[0-9a-fA-F.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)?\Z"
)


class Env(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Python environment on the host."""

    python: str = "auto"
    requirements: str | None = None
    vars: dict[str, str] = msgspec.field(default_factory=dict)
    file: str | None = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a run is ended."""

    max_hours: float | None = None
    budget_usd: float | None = None
    idle_minutes: float | None = None
    grace_seconds: float = 60.0


class Restart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """New attempts after a crash; none after bad data, a failed check or divergence."""

    max: int = 0


class JobSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job as its file describes it. docs/job_schema.py describes each key."""

    name: str
    trainer: str | None = None
    command: list[str] | None = None
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    code: str | None = None
    exclude: list[str] = msgspec.field(default_factory=list)
    send_credentials: list[str] = msgspec.field(default_factory=list)
    data: dict[str, str] = msgspec.field(default_factory=dict)
    env: Env = Env()
    setup: list[str] = msgspec.field(default_factory=list)
    image: str | None = None
    resources: Resources = Resources()
    limits: Limits = Limits()
    restart: Restart = Restart()
    detach: Literal["wait", "kill"] = "wait"
    outputs: list[str] = msgspec.field(default_factory=list)
    pass_env: list[str] = msgspec.field(default_factory=list)
    notify: Notify | None = None
    sweep: Sweep | None = None
    s3: s3.S3 = s3.S3()

    @property
    def uses_s3(self) -> bool:
        """Whether data or outputs are there."""
        return any(path.startswith(s3.SCHEME) for path in (*self.data.values(), *self.outputs))


class JobFile(msgspec.Struct, frozen=True):
    """A spec, the name of its file, the line of each key (for errors that come later), notes for the user."""

    spec: JobSpec
    source: str
    lines: dict[yamltext.Path, int]
    notes: tuple[str, ...] = ()

    def where(self, *path: str) -> str:
        """`file:line` of a key, of its nearest parent where the key is not written."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                line = self.lines[path[:end]]
                return f"{self.source}:{line}" if line else "--set"
        return self.source

    def with_spec(self, **changes: object) -> JobFile:
        """With other values of these keys."""
        return msgspec.structs.replace(self, spec=msgspec.structs.replace(self.spec, **changes))


_EC2 = ("subnet", "security_group", "tags", "kms_key", "private_ip", "instance_profile")
_LATER_KEYS = (
    *(("exclude",), ("send_credentials",), ("detach",), ("notify",), ("resources", "gpu")),
    *(("env", "vars"), ("env", "file"), ("setup",), ("sweep",), ("image",), ("s3",)),
    *(("resources", "nodes"), ("resources", "master")),
    *(("resources", "ec2", key) for key in _EC2),
)
"""Keys that a job file of version 1 did not have: with their defaults they change no fingerprint."""


def to_fingerprint(job: JobSpec) -> object:
    """What of a job tells two deploys apart: its keys, without those of _LATER_KEYS at their defaults."""
    content, defaults = msgspec.to_builtins(job), msgspec.to_builtins(JobSpec(name=""))
    for *parents, key in _LATER_KEYS:
        within, default = content, defaults
        for parent in parents:
            within, default = within[parent], default[parent]
        if within[key] == default[key]:
            del within[key]
    return content


def parse(text: str, source: str, overrides: list[tuple[str, str]] | None = None) -> JobFile:
    """The job in `text`, with `--set` pairs on top. Raises UsageError naming file, line and key."""
    try:
        document = yamltext.parse(text, texts=jobtext.TEXTS)
    except yamltext.YamlError as error:
        raise UsageError(f"{source}:{error.line}: {error}", "the job file is not valid YAML") from None
    if not isinstance(document.value, dict):
        raise UsageError(f"{source}: a job file is a mapping of keys", "", "gpujob init (writes one)")
    for key, value in overrides or []:
        jobtext.set_value(document, key, value, JobSpec.__struct_fields__)
    notes = tuple(f"{source}:{note.line}: {note.text}" for note in document.notes if _is_unclear(note))
    job = JobFile(JobSpec(name=""), source, document.lines, notes)
    _refuse_unknown(document.value, JobSpec, (), job)
    jobtext.take_texts(document, job.where("command"))
    jobtext.require_values(document, lambda name: job.where("env", "vars", name))
    return msgspec.structs.replace(job, spec=_checked(_convert(document, job), job))


def _is_unclear(note: yamltext.Note) -> bool:
    """A yes for a key that is true or false is as clear as true."""
    return note.path[:1] == ("config",) or " is read as text" in note.text


def _refuse_unknown(value: Any, struct: Any, path: yamltext.Path, job: JobFile) -> None:
    """Every unknown key at once, so that a file is mended in one go."""
    wrong = list(_unknown(value, struct, path))
    if not wrong:
        return
    messages = [f"{job.where(*at)}: {_about(at, known)}" for at, known in wrong]
    raise UsageError(messages[0], "; ".join(messages[1:]), "gpujob init (writes a commented job file)")


def _unknown(value: Any, struct: Any, path: yamltext.Path) -> Any:
    if not isinstance(value, dict):
        return
    types = {field.name: field.type for field in msgspec.structs.fields(struct)}
    for key, inner in value.items():
        at = (*path, key)
        if key not in types:
            yield at, list(types)
        else:
            nested = [t for t in (types[key], *get_args(types[key])) if _is_struct(t)]
            if nested:
                yield from _unknown(inner, nested[0], at)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _about(path: yamltext.Path, known: list[str]) -> str:
    dotted = ".".join(path)
    close = closest(path[-1], known)
    guess = f"did you mean {close!r}?" if close else f"known here: {', '.join(known)}"
    return f"unknown key {dotted!r}, {guess}"


def _convert(document: yamltext.Document, job: JobFile) -> JobSpec:
    try:
        return msgspec.convert(document.value, JobSpec)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at `$")
        path = tuple(re.findall(r"[^.\[\]`]+", at))
        if path:
            what = f"{job.where(*path)}: {'.'.join(path)}: {jobtext.plain(message)}"
            raise UsageError(what, "", _hint(path)) from None
        raise UsageError(f"{job.source}: {jobtext.plain(message)}") from None


def _hint(path: yamltext.Path) -> str:
    """How a value of another type at this path is written."""
    if path[0] == "notify":
        return notifications.hint(path[1] if path[1:] else "")
    if path[0] != "command":
        return ""
    return (
        'write quotes around it, as in ["10", "on"]' if path[1:] else "as a list: command: [python, train.py]"
    )


def _checked(spec: JobSpec, job: JobFile) -> JobSpec:
    """Checks what the types cannot express. Raises UsageError."""
    if not NAME.match(spec.name):
        why = "letters, digits, - and _, 40 at most, beginning with a letter or digit"
        raise UsageError(f"{job.where('name')}: {spec.name!r} cannot name a job", why)
    if spec.trainer is None and spec.command is None:
        step = "add a line: command: [python, train.py]"
        raise UsageError(f"{job.source}: the job has no command and no trainer", "", step)
    if spec.trainer is not None and spec.command is not None:
        raise UsageError(f"{job.source}: the job has a trainer and a command", "", "keep one of the two")
    if spec.command is not None and not any(spec.command[:1]):
        raise UsageError(f"{job.where('command')}: the command is empty")
    for path, ok, rule in _bounds(spec):
        if not ok:
            raise UsageError(f"{job.where(*path)}: {'.'.join(path)} must be {rule}")
    for at, why, fix in _faults(spec):
        raise UsageError(f"{job.where(*at)}: {'.'.join(at)}: {why}", "", fix)
    for name, value in spec.data.items():
        _check_data(name, value, job)
    for name, text in spec.env.vars.items():
        variables.require(name, text, job.where("env", "vars", name), "env.vars", spec.trainer is not None)
    if len({name.upper().replace("-", "_") for name in spec.data}) < len(spec.data):
        why = "GPUJOB_DATA_<NAME> could not tell them apart"
        raise UsageError(f"{job.where('data')}: two data folders have the same name but for - and _", why)
    for key, paths in (("outputs", spec.outputs), ("send_credentials", spec.send_credentials)):
        for index, value in enumerate(paths):
            if value.startswith(s3.SCHEME) and key == "outputs":
                s3.parse(value, f"{job.where(key, str(index))}: {key}")
            elif not inside(value):
                raise UsageError(f"{job.where(key, str(index))}: {key}: {value!r} leads out of the folder")
    return spec


def _faults(spec: JobSpec) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Of the parts that few jobs have: the key that is wrong, why, and what to write instead."""
    if spec.notify:
        yield from notifications.faults(spec.notify)
    if spec.image is not None:
        yield from containers.faults(spec)
    if spec.uses_s3 or spec.s3 != s3.S3():
        yield from s3.faults(spec.s3, spec.outputs)


def _bounds(spec: JobSpec) -> list[tuple[tuple[str, ...], bool, str]]:
    limits = spec.limits
    positive = (
        ("max_hours", limits.max_hours),
        ("budget_usd", limits.budget_usd),
        ("idle_minutes", limits.idle_minutes),
    )
    return [
        *((("limits", key), value is None or 0 < value < math.inf, "above 0") for key, value in positive),
        (("resources", "gpus"), spec.resources.gpus >= 0, "0 or more"),
        (("resources", "nodes"), spec.resources.nodes >= 1, "1 or more"),
        (("resources", "master"), bool(MASTER.match(spec.resources.master)), "ADDRESS or ADDRESS:PORT"),
        (("resources", "disk_gb"), (spec.resources.disk_gb or 0) >= 0, "0 or more"),
        (("restart", "max"), spec.restart.max >= 0, "0 or more"),
        (("resources", "ec2", "disk_gb"), spec.resources.ec2.disk_gb >= 0, "0 or more"),
        (("limits", "grace_seconds"), limits.grace_seconds >= 0, "0 or more"),
    ]


def _check_data(name: str, path: str, job: JobFile) -> None:
    if not re.match(r"[A-Za-z][A-Za-z0-9_-]*\Z", name):
        raise UsageError(f"{job.where('data', name)}: {name!r} cannot name a data folder")
    if path.startswith(s3.SCHEME):
        s3.parse(path, f"{job.where('data', name)}: data.{name}")
    if not path:
        raise UsageError(f"{job.where('data', name)}: the path is empty")
