"""The deadline and the lease of the EC2 instance that this code runs on (docs/instance.md).

Each is a file with seconds since 1970. The instance shuts down once either time has passed, or if either file
is missing. The files are kept in memory; a copy of the deadline on disk survives a stop of the instance.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Callable, Mapping, NamedTuple, TypedDict

from orchestrator.core import jsontext
from orchestrator.onhost import files
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import RunSpec

MEMORY_FOLDER, DISK_FOLDER = "/run/gpujob", "/var/lib/gpujob"
DEFAULT_IDLE_MINUTES = 30.0  # for a job that sets none, so that an idle instance does not run for ever
MARGIN = 10.0  # seconds to allow for the interval between two checks and for recording the end
_METADATA_URL = "http://169.254.169.254"
_NOTICE_PATH = "/latest/meta-data/spot/instance-action"
_METADATA_TIMEOUT = 0.5  # seconds; the service is one hop away


class Notice(TypedDict):
    """What EC2 will do with a spot instance (`action`: terminate, stop or hibernate), and when."""

    action: str
    time: str


class InstanceFacts(TypedDict):
    """`now`: by the clock of the instance. `uptime`: in seconds. `ready`: what the boot reported.

    `shutdown_reason`: why the instance last shut itself down.
    """

    deadline: int | None
    lease: int | None
    now: int
    uptime: float | None
    spot: bool
    ready: Mapping[str, object] | None
    notice: Notice | None
    shutdown_reason: str | None


class Answer(InstanceFacts):
    """`deadline_persisted`: whether the copy of the deadline on the disk was written."""

    deadline_persisted: bool


class InstanceLimits:
    """Reads and writes the deadline and the lease, in the folders `memory` and `disk`.

    Times: seconds since 1970.
    """

    def __init__(self, memory: str, disk: str) -> None:
        self._memory = memory
        self._disk = disk

    @property
    def deadline(self) -> int | None:
        return _load_number(os.path.join(self._memory, "deadline"))

    @property
    def lease(self) -> int | None:
        return _load_number(os.path.join(self._memory, "lease"))

    @property
    def is_spot(self) -> bool:
        return os.path.exists(os.path.join(self._memory, "spot"))

    @property
    def is_ready(self) -> bool:
        return os.path.exists(os.path.join(self._memory, "ready"))

    def renew_lease(self, until: float) -> int:
        """Extends the lease to `until`, but never shortens it; returns the lease.

        OSError if it cannot be written.
        """
        now = self.lease or 0
        if until > now:
            _write(os.path.join(self._memory, "lease"), str(int(until)))
        return max(now, int(until))

    def set_deadline(self, until: float) -> bool:
        """Sets the deadline; returns whether its copy on disk was written too (the disk may be full)."""
        persisted = True
        try:
            _write(os.path.join(self._disk, "deadline"), str(int(until)))
        except OSError:
            persisted = False
        _write(os.path.join(self._memory, "deadline"), str(int(until)))
        return persisted

    def record_notice(self, notice: Notice) -> None:
        """Stores a spot interruption notice for clients that connect later."""
        _write(os.path.join(self._memory, "notice"), json.dumps(notice))

    @property
    def notice(self) -> Notice | None:
        """The spot interruption notice that a run recorded."""
        content = files.load(os.path.join(self._memory, "notice"))
        return None if content is None else _notice(content)

    def facts(self) -> InstanceFacts:
        """Returns the limits and the state of the instance."""
        uptime = _load("/proc/uptime")
        return {
            "deadline": self.deadline,
            "lease": self.lease,
            "now": int(time.time()),
            "uptime": float(uptime.split()[0]) if uptime else None,
            "spot": self.is_spot,
            "ready": files.load_json(os.path.join(self._memory, "ready")),
            "notice": self.notice,
            "shutdown_reason": _load(os.path.join(self._disk, "off")),
        }


def find() -> InstanceLimits | None:
    """Returns the limits of this instance; None on any other host.

    GPUJOB_INSTANCE_FILES names a folder with `run` and `kept` to be used instead of those of the instance.
    """
    folder = os.environ.get("GPUJOB_INSTANCE_FILES")
    memory, disk = (MEMORY_FOLDER, DISK_FOLDER)
    if folder:
        memory, disk = os.path.join(folder, "run"), os.path.join(folder, "kept")
    return InstanceLimits(memory, disk) if os.path.exists(os.path.join(memory, "deadline")) else None


def is_booting() -> bool:
    """Returns whether this is an instance that is booting: its data volume may not be mounted yet."""
    limits = None if os.environ.get("GPUJOB_INSTANCE_FILES") else find()
    return limits is not None and not limits.is_ready


def answer(lease_seconds: float | None = None, deadline: float | None = None) -> Answer:
    """Renews the lease to `lease_seconds` from now, or sets the deadline; returns the facts afterwards.

    Raises Refused on a host that is not an instance.
    """
    limits = find()
    if limits is None:
        raise Refused("no-instance", "this host is not an EC2 instance of gpujob")
    persisted = True
    try:
        if lease_seconds is not None:
            limits.renew_lease(time.time() + lease_seconds)
        if deadline is not None:
            persisted = limits.set_deadline(deadline)
    except OSError as error:
        raise Refused("no-instance", "%s: %s" % (error.filename, error.strerror)) from None
    return {**limits.facts(), "deadline_persisted": persisted}


class Verdict(NamedTuple):
    """Why a run must end now: `reason` is `hours`, `idle` or `preempted`; `message` is for the user."""

    reason: str
    message: str


class InstanceWatch:
    """Renews the lease while a run is active, and decides when the run must end before the instance does.

    The lease is longer than the run's idle limit by its grace period, so that a run that is stopped as idle
    can write its checkpoint. `notice` reads the spot notice from the metadata service.
    """

    def __init__(
        self,
        limits: InstanceLimits | None,
        spec: RunSpec,
        notice: Callable[[], Notice | None],
    ) -> None:
        self._limits = limits
        self._idle = (DEFAULT_IDLE_MINUTES if spec.idle_minutes is None else spec.idle_minutes) * 60
        self._grace = spec.grace_seconds
        self._notice = notice

    def verdict(self, now: float, idle_seconds: float) -> Verdict | None:
        """Renews the lease; returns why the run must end now, or None. `now`: seconds since 1970."""
        if self._limits is None:
            return None
        with contextlib.suppress(OSError):  # a lease that cannot be renewed ends the instance, as intended
            self._limits.renew_lease(now - idle_seconds + self._idle + self._grace + MARGIN)
        deadline = self._limits.deadline
        if deadline is not None and now >= deadline - self._grace - MARGIN:
            seconds = max(0, deadline - now)
            return Verdict("hours", "the instance shuts down at its deadline, in %d seconds" % seconds)
        notice = self._notice() if self._limits.is_spot else None
        if notice is None:
            return None
        with contextlib.suppress(OSError):
            self._limits.record_notice(notice)
        when = "EC2 interrupts this spot instance: %s at %s" % (notice["action"], notice["time"])
        return Verdict("preempted", when)


class Metadata:
    """Reads the spot interruption notice from the instance metadata service, version 2."""

    def __init__(self) -> None:
        url = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _METADATA_URL
        self._host = url.rstrip("/").rpartition("/")[2]
        self._token = ""

    def notice(self) -> Notice | None:
        """Returns the notice if EC2 will interrupt the instance; None if not, or on failure."""
        import http.client  # noqa: PLC0415 - late: it takes longer than all else that a helper imports

        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            status, body = self._get_notice()
            if status == 401:
                self._token = ""
                status, body = self._get_notice()
            if status == 200:
                return _notice(jsontext.read_object(body))
        return None

    def _get_notice(self) -> tuple[int, str]:
        if not self._token:
            lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
            status, self._token = self._request("PUT", "/latest/api/token", lifetime)
            if status != 200:
                self._token = ""
                return status, ""
        return self._request("GET", _NOTICE_PATH, {"X-aws-ec2-metadata-token": self._token})

    def _request(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        import http.client  # noqa: PLC0415

        connection = http.client.HTTPConnection(self._host, timeout=_METADATA_TIMEOUT)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read(65536).decode("utf-8", "replace")


def _notice(content: jsontext.Object) -> Notice:
    return {"action": content.text("action") or "unknown", "time": content.text("time") or "unknown"}


def _write(path: str, text: str) -> None:
    """Writes a file atomically: a reader of half a number would shut the instance down."""
    files.write(path, text.encode() + b"\n", 0o666)


def _load(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read(4096).strip()
    except OSError:
        return None


def _load_number(path: str) -> int | None:
    text = _load(path) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None
