"""Stores instances and launch attempts in the client's state folder: read tolerantly, written atomically.

A file that is not a valid record counts as absent; its instance can still be found by its tags in EC2. Format
version 2; version 1 (folders `boxes` and `attempts`) is read, and replaced at the next write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from orchestrator import files
from orchestrator.context import Context
from orchestrator.instances import catalog
from orchestrator.instances.instance import PREFIX, Instance
from orchestrator.instances.spec import Candidate, LaunchSpec
from orchestrator.store import Store, client_id

VERSION = 2
_FOLDERS = {"instances": "boxes", "launches": "attempts"}
"""Folder → the name that it has in version 1."""
_INSTANCE_KEYS = {
    "user": "login_user",
    "since": "checked",
    "ran": "running_seconds",
    "rested": "stopped_seconds",
    "booted": "started",
    "for_run": "ends_with_run",
    "attempt": "launch",
    "group": "security_group",
    "cidr": "ssh_cidr",
    "usd_hour": "usd_per_hour",
    "attach": "volume_to_attach",
    "host_public": "first_host_key",
    "rotated": "host_key_rotated",
    "why": "state_reason",
}
_ATTEMPT_KEYS = {
    "want": "spec",
    "host_public": "first_host_key",
    "cidr": "ssh_cidr",
    "tried": "failures",
    "current": "request",
}
_SPEC_KEYS = {"disk_gb": "root_gb", "user": "login_user", "who": "owner"}
_REQUEST_KEYS = {"at": "candidate", "request": "parameters", "asked": "sent"}
_T = TypeVar("_T", bound=Struct)


class Failure(Struct, frozen=True):
    """A candidate that EC2 could not launch, and EC2's error code."""

    candidate: Candidate
    code: str


class SentRequest(Struct, frozen=True):
    """A RunInstances request whose outcome is not known yet; `parameters` are sent again unchanged."""

    candidate: Candidate
    parameters: dict[str, Any]
    sent: float


class LaunchAttempt(Struct, frozen=True, kw_only=True):
    """A launch whose outcome is not on record yet.

    ssh_cidr: the range that may reach port 22, in a record of an earlier version as typed; None for this
    client's address at the time of the request. others: ids of instances for jobs of the same name that
    existed before it.
    """

    id: str
    created: float
    spec: LaunchSpec
    user_data: str
    first_host_key: str
    ssh_cidr: str | None = None
    others: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    request: SentRequest | None = None

    @property
    def why_no_zone(self) -> str:
        """Why there is no zone to launch in, where none was tried."""
        subnet, zone = self.spec.subnet, self.spec.zone
        if zone:
            where = f"{zone} is not that of {subnet}" if subnet else f"{zone} has no default subnet"
            return f"volume {self.spec.volume} is in {zone}; {where}, or does not offer the type"
        if subnet:
            return f"the zone of {subnet} does not offer it"
        return f"no zone of {', '.join(self.spec.regions)} with a default subnet offers it"


class Change(Struct, frozen=True):
    """A deletion that was decided and may not be done yet.

    kind: terminate, delete-volume, cancel-request or delete-interface.

    id: of the resource. instance: id of the instance whose record it changes, "" for none.
    """

    kind: Literal["terminate", "delete-volume", "cancel-request", "delete-interface"]
    id: str
    region: str
    instance: str = ""

    def __str__(self) -> str:
        nouns = {"terminate": "termination", "cancel-request": "cancellation"}
        return f"the {nouns.get(self.kind, 'deletion')} of {self.id}"


class InstanceStore:
    """Reads and writes the records below the client's state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        catalog.use(folder)

    def find(self, instance_id: str) -> Instance | None:
        return self._load("instances", instance_id, Instance)

    def find_label(self, label: str) -> Instance | None:
        """Returns the instance with a label such as ec2://i-…; None if it is not on record."""
        return self.find(label.removeprefix(PREFIX)) if label.startswith(PREFIX) else None

    def get(self, instance_id: str) -> Instance:
        """Returns the record of an instance that must have one."""
        stored = self.find(instance_id)
        assert stored
        return stored

    def all(self) -> list[Instance]:
        """Returns every instance on record, oldest launch first; terminated ones too, for their costs."""
        return sorted(self._load_all("instances", Instance), key=lambda instance: instance.launched)

    def ids(self) -> set[str]:
        """Returns the ids of all instances on record."""
        return {instance.id for instance in self.all()}

    def current(self) -> list[Instance]:
        """Returns the instances that had not ended when they were last checked."""
        return [instance for instance in self.all() if not instance.has_ended]

    def members(self, instance: Instance) -> tuple[Instance, ...]:
        """Returns the instances of its group that have not ended, in a fixed order; alone without a group."""
        if not instance.group:
            return (instance,)
        alike = [one for one in self.current() if one.group == instance.group]
        return tuple(sorted(alike, key=lambda one: one.id))

    def of_group(self, instance: Instance) -> tuple[Instance, ...]:
        """Returns all instances of its group, those that have ended too: what the run cost in all."""
        if not instance.group:
            return (instance,)
        return tuple(one for one in self.all() if one.group == instance.group)

    def billed(self) -> list[Instance]:
        """Returns the instances that had not ended, and those that left a volume: all that costs money."""
        return [instance for instance in self.all() if not instance.has_ended or instance.volume]

    def of_volume(self, volume: str) -> list[Instance]:
        """Returns the instances on record that have or left this volume, oldest launch first."""
        return [instance for instance in self.all() if instance.volume == volume]

    def save(self, instance: Instance) -> Instance:
        self._save("instances", instance.id, instance)
        return instance

    def attempts(self) -> list[LaunchAttempt]:
        """Returns the launches whose outcome is not known, oldest first."""
        return sorted(self._load_all("launches", LaunchAttempt), key=lambda attempt: attempt.created)

    def save_attempt(self, attempt: LaunchAttempt) -> LaunchAttempt:
        """Writes an attempt to disk (mode 0600, since it holds a private host key) and returns it.

        Call it before EC2 gets the request.
        """
        self._save("launches", attempt.id, attempt)
        return attempt

    def close_attempt(self, attempt_id: str) -> None:
        self._remove("launches", attempt_id)
        self._remove(_FOLDERS["launches"], attempt_id)

    def changes(self) -> list[Change]:
        """Returns the deletions that are not known to be done; terminations first."""
        return sorted(
            self._load_all("changes", Change), key=lambda change: (change.kind != "terminate", change.id)
        )

    def save_change(self, change: Change) -> None:
        """Records a change that was decided, before EC2 gets a request."""
        self._save("changes", change.id, change)

    def close_change(self, resource_id: str) -> None:
        self._remove("changes", resource_id)

    def client_id(self, ctx: Context) -> str:
        """Returns the random id of this client, which is created once."""
        return client_id(ctx)

    def launch_lock(self, job: str) -> contextlib.AbstractContextManager[bool]:
        """Locks the launches of a job; yields whether this process has the lock."""
        return Store(self._folder).lock(job, "ec2")

    def _load(self, folder: str, name: str, kind: type[_T]) -> _T | None:
        if "/" in name:
            return None
        for each in (folder, _FOLDERS.get(folder, folder)):
            if (path := self._folder / each / f"{name}.json").is_file():
                return load(path, kind)
        return None

    def _load_all(self, folder: str, kind: type[_T]) -> Iterator[_T]:
        folders = [self._folder / each for each in (_FOLDERS.get(folder, folder), folder)]
        paths = {path.stem: path for parent in folders for path in files.json_files(parent)}
        for path in paths.values():
            if record := load(path, kind):
                yield record

    def _save(self, folder: str, name: str, record: Struct) -> None:
        files.write_json(
            self._folder / folder / f"{name}.json", {"v": VERSION, **msgspec.to_builtins(record)}
        )
        if folder in _FOLDERS:
            self._remove(_FOLDERS[folder], name)

    def _remove(self, folder: str, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self._folder / folder / f"{name}.json").unlink()


def load(path: Path, kind: type[_T]) -> _T | None:
    """Returns the record in a file, of any format version; None if it holds no valid record."""
    value = files.load_json(path)
    try:
        if value and "v" not in value:
            value = _from_version_1(value)
        record = msgspec.convert(value, kind)
    except (ValueError, msgspec.MsgspecError):
        return None
    return record if getattr(record, "id", None) == path.stem else None


def _from_version_1(value: dict[str, Any]) -> dict[str, Any]:
    if "want" not in value:
        return _rename(value, _INSTANCE_KEYS)
    attempt = _rename(value, _ATTEMPT_KEYS)
    attempt["spec"] = _rename(attempt["spec"], _SPEC_KEYS)
    if isinstance(failures := attempt.get("failures"), list):
        attempt["failures"] = [_rename(one, _REQUEST_KEYS) for one in failures]
    attempt["request"] = attempt.get("request") and _rename(attempt["request"], _REQUEST_KEYS)
    return attempt


def _rename(value: Any, keys: Mapping[str, str]) -> dict[str, Any]:
    """Renames the keys of an object. ValueError if `value` is not an object."""
    if not isinstance(value, dict):
        raise ValueError("no object")
    return {keys.get(key, key): item for key, item in value.items()}
