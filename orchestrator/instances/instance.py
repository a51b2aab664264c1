"""The record of an EC2 instance on this client, and for how long the instance has run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from orchestrator.instances import spec

if TYPE_CHECKING:  # for an annotation only: `status` reads no answers of AWS
    from orchestrator.instances import answers

PREFIX = "ec2://"
BILLED_STATES = ("pending", "running")
"""EC2 states in which the machine and its address cost money. Its disks do until it is terminated."""
LIVE_STATES = (*BILLED_STATES, "stopping", "stopped")
STOPPED = "stopped"
TERMINATED = "terminated"
_LATEST = 1e11  # seconds since 1970; a later time is damaged
_TIME = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)")


def label(instance_id: str) -> str:
    """Returns the value of --on that selects an instance."""
    return f"{PREFIX}{instance_id}"


class Instance(Struct, frozen=True, kw_only=True):
    """The record of an instance. Times are seconds since 1970, durations seconds.

    state: its EC2 state when that was last read, at `checked`.
    running_seconds, stopped_seconds: how long it has been in a billed state, and in another one before its
    end, until `checked`.
    address: its public IPv4 address, None while it has none.
    types: those that its launch could choose from, in order.
    run: the run it was launched for; with `ends_with_run` it is terminated once that run is fetched.
    spot_request: the id of its spot request, to be cancelled before it is terminated.
    launch: the id of the launch attempt that created it, also in its tag.
    group: the same for all instances that train as one run; "" for one that trains alone.
    managed: launched by gpujob; only then may gpujob change or terminate it.
    account, security_group: as EC2 reports them; None where they were never read.
    ssh_cidr: the range that may reach port 22, in a record of an earlier version as typed; None for this
    client's own address.
    owns_group: security_group is gpujob's, which opens it to the client and deletes it. private_ip: it is
    reached at its private address. subnet, extra_tags: as the job asked for; another instance for its volume
    gets the same.
    usd_per_hour: price of the machine alone; None where it is not known.
    disk_gb: total size of its disks.
    volume: its data volume, which outlives it; `volume_to_attach`: one that is attached after the launch.
    volume_gb: size of `volume`, part of disk_gb. volume_usd: what it cost from the end of the instance until
    it was deleted or attached to another instance. volume_until: the launch of another instance for it, whose
    record counts what it costs from then on.
    gpu_type: the type of the run's instance, while this one has a small type without GPUs to fetch from it.
    run_spot: that instance was a spot instance. earlier_usd: what this one cost with former types, at
    gpu_usd_per_hour for the machine; the seconds above count from then on.
    started: the last start of the machine; deadline: when it shuts itself down.
    first_host_key: the public SSH host key from its user-data, replaced once `host_key_rotated`.
    ready: it has booted and has its own host key.
    state_reason: EC2's code and message about why it is in its state.
    """

    id: str
    region: str
    launched: float
    zone: str = ""
    type: str = ""
    spot: bool = False
    types: tuple[str, ...] = ()
    state: str = "running"
    checked: float = 0.0
    running_seconds: float = 0.0
    stopped_seconds: float = 0.0
    ended: float | None = None
    address: str | None = None
    login_user: str = "ubuntu"
    job: str = ""
    run: str | None = None
    ends_with_run: bool = True
    launch: str | None = None
    group: str = ""
    managed: bool = True
    account: str | None = None
    security_group: str | None = None
    ssh_cidr: str | None = None
    owns_group: bool = True
    private_ip: bool = False
    subnet: str = ""
    extra_tags: dict[str, str] = {}
    usd_per_hour: float | None = None
    disk_gb: int = 0
    volume: str | None = None
    volume_to_attach: str | None = None
    volume_gb: int = 0
    volume_usd: float = 0.0
    volume_until: float | None = None
    spot_request: str | None = None
    gpu_type: str = ""
    run_spot: bool = False
    earlier_usd: float = 0.0
    gpu_usd_per_hour: float | None = None
    started: float = 0.0
    deadline: float = 0.0
    first_host_key: str | None = None
    host_key_rotated: bool = False
    ready: bool = False
    state_reason: str = ""

    @property
    def label(self) -> str:
        return label(self.id)

    @property
    def has_ended(self) -> bool:
        return self.state == TERMINATED

    @property
    def is_adopted(self) -> bool:
        """Whether another client launched it: only the record of its launch has the first host key."""
        return self.first_host_key is None

    @property
    def is_interrupted(self) -> bool:
        """Whether it is a spot instance that is stopped: only EC2 starts one that it interrupted."""
        return self.spot and self.state == STOPPED

    @property
    def is_billed(self) -> bool:
        return self.state in BILLED_STATES

    def observe(self, state: str, now: float, reason: str = "", started: float = 0.0) -> Instance:
        """Returns this instance after EC2 reported `state`; `reason` is EC2's StateTransitionReason.

        started: EC2's LaunchTime, that of the last start. If it is after the last check, the instance was
        started again, also by EC2 itself, and may have been stopped since. The time of a change is read from
        `reason`. Without one, an instance that stopped since the last check is assumed to have run until its
        deadline, the latest possible time. One that was taken for terminated and is not has run since.
        """
        if self.has_ended and state in LIVE_STATES:
            self = replace(self, state="running", ended=None)
        if self.checked < started < now:
            return self._changed(started, "running", started).observe(state, now, reason)
        changed = now if state == self.state else transition_time(reason, self.checked, now)
        if changed is None:
            changed = now if state in BILLED_STATES else min(now, max(self.checked, self.deadline))
        return self._changed(changed, state, now)

    def _changed(self, changed: float, state: str, now: float) -> Instance:
        """Returns this instance after it had its state until `changed`, and `state` from then on."""
        spans = ((changed - self.checked, self.state), (now - changed, state))
        running = sum(seconds for seconds, during in spans if during in BILLED_STATES)
        stopped = sum(seconds for seconds, during in spans if during not in (*BILLED_STATES, TERMINATED))
        return replace(
            self,
            state=state,
            checked=now,
            running_seconds=self.running_seconds + running,
            stopped_seconds=self.stopped_seconds + stopped,
            ended=changed if state == TERMINATED and self.ended is None else self.ended,
        )

    def runs_until(self, now: float) -> float:
        """Returns the latest time at which it can have been running: the earlier of its deadline and `now`.

        The deadline does not count for an instance that was observed after it, nor for one that gpujob did
        not launch.
        """
        return min(now, self.deadline) if self.managed and self.checked < self.deadline else now


def transition_time(reason: str, earliest: float, latest: float) -> float | None:
    """Returns the time in a `reason` such as "User initiated (2026-11-21 09:00:00 GMT)"; None without one."""
    match = _TIME.search(reason)
    if not match:
        return None
    from datetime import datetime, timezone  # noqa: PLC0415 - 5 ms that `status` seldom needs

    try:
        time = datetime.strptime(match.group(1), "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return min(max(time.timestamp(), earliest), latest)


class Description(msgspec.Struct, frozen=True):
    """An instance as EC2 describes it. `tags` are not validated: any user of the account may change them."""

    id: str
    state: str
    type: str
    zone: str
    spot: bool
    address: str | None
    private_address: str | None
    launched: float
    transition_reason: str
    state_reason: str
    security_group: str | None
    data_volume: str | None
    spot_request: str | None
    account: str | None
    tags: dict[str, str]

    @property
    def expires(self) -> float | None:
        return expires(self.tags)


def parse_description(answer: answers.Instance, account: str | None) -> Description:
    """Parses one instance of DescribeInstances or RunInstances; `account` is the owner of its reservation."""
    volumes = {one.device_name: one.ebs.volume_id for one in answer.block_device_mappings if one.ebs}
    return Description(
        id=answer.instance_id,
        state=answer.state.name,
        type=answer.instance_type,
        zone=answer.placement.availability_zone,
        spot=answer.instance_lifecycle == "spot",
        address=answer.public_ip_address,
        private_address=answer.private_ip_address,
        launched=answer.launch_time.timestamp() if answer.launch_time else 0.0,
        transition_reason=answer.state_transition_reason,
        state_reason=_reason(answer.state_reason),
        security_group=answer.security_groups[0].group_id if answer.security_groups else None,
        data_volume=volumes.get(spec.DATA_DEVICE),
        spot_request=answer.spot_instance_request_id,
        account=account,
        tags=parse_tags(answer.tags),
    )


def _reason(of: answers.Reason) -> str:
    """Returns EC2's code and its whole message, which often starts with the code."""
    starts_with_code = bool(of.message) and of.message.startswith(of.code)
    return of.message if starts_with_code else ": ".join(part for part in (of.code, of.message) if part)


def parse_tags(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Converts the tags of an answer to key → value."""
    return {tag["Key"]: tag.get("Value", "") for tag in tags if "Key" in tag}


def expires(tags: Mapping[str, str]) -> float | None:
    """Returns the deadline in the tags, in seconds since 1970; None if there is no valid one."""
    try:
        seconds = float(tags.get(spec.EXPIRES, ""))
    except ValueError:
        return None
    return seconds if 0 < seconds < _LATEST else None
