"""What --json prints about hosts and EC2 instances. docs/schemas/ is written from these types.

Every key is always there. Times are ISO 8601 in UTC, durations are seconds, sizes are bytes, and money is a
number of US dollars. A value that is not known, or that does not apply, is null.
"""

from __future__ import annotations

from orchestrator.view.answer import Answer, FetchedFile, Part, Time, Usd


class Instance(Part, frozen=True, kw_only=True):
    """An EC2 instance. `deadline`: when it shuts itself down; `worst_case_usd`: its cost until then.

    `group`: the same for all instances that train as one run.
    """

    id: str
    label: str
    type: str
    region: str
    zone: str
    spot: bool
    state: str
    address: str | None
    job: str
    run: str | None
    group: str | None
    launched: Time | None
    ended: Time | None
    deadline: Time | None
    volume: str | None
    volume_usd_per_month: Usd
    usd_per_hour: Usd
    disk_usd_per_month: Usd
    cost_usd: Usd
    worst_case_usd: Usd


class Launch(Part, frozen=True, kw_only=True):
    """The `nodes` instances that would be launched: of the first of `types` and `regions` that EC2 has.

    Prices are those of all together. `worst_case_usd`: the cost if they run all of `hours`, which
    `limited_by` sets. `usd_per_hour`: in the most expensive region. `disk_gb`: of each.
    """

    types: tuple[str, ...]
    regions: tuple[str, ...]
    spot: bool
    nodes: int
    usd_per_hour: Usd | None
    usd_per_hour_by_region: dict[str, Usd]
    hours: float
    limited_by: str
    worst_case_usd: Usd | None
    prices_as_of: str
    disk_gb: int
    ssh_cidr: str | None


class LaunchPreview(Answer, frozen=True, kw_only=True):
    """Of `hosts up --dry-run`."""

    launch: Launch


class HostKey(Part, frozen=True, kw_only=True):
    name: str
    fingerprint: str


class Resource(Part, frozen=True, kw_only=True):
    """What costs money in the account and is of no instance in this answer.

    `kind`: instance, volume or request (of spot). `cost_usd`: since it was created. `user`: who launched it.
    """

    kind: str
    id: str
    region: str
    state: str
    type: str
    size_gb: int
    user: str
    job: str
    why: str
    usd_per_month: Usd | None
    cost_usd: Usd | None


class Hosts(Answer, frozen=True, kw_only=True):
    """Of `hosts list`."""

    hosts: tuple[HostKey, ...]
    instances: tuple[Instance, ...]
    resources: tuple[Resource, ...]


class Instances(Answer, frozen=True, kw_only=True):
    """Of `hosts extend`, `hosts down` and `stop --terminate`."""

    instances: tuple[Instance, ...]


class Up(Answer, frozen=True, kw_only=True):
    """Of `hosts up`."""

    instance: Instance


class Attached(Answer, frozen=True, kw_only=True):
    """Of `hosts attach`."""

    host: str
    name: str
    fingerprint: str


class InstanceType(Part, frozen=True, kw_only=True):
    name: str
    region: str
    gpu: str
    gpus: int
    gpu_mib: int
    vcpus: int
    memory_gib: float
    usd_per_hour: Usd | None
    spot_usd_per_hour: Usd | None


class Types(Answer, frozen=True, kw_only=True):
    """Of `hosts types`. `prices_as_of`: the day of the prices of each region."""

    types: tuple[InstanceType, ...]
    prices_as_of: dict[str, str]


class ConfiguredHost(Part, frozen=True, kw_only=True):
    """`host`: its name for ssh, once the printed configuration is included."""

    host: str
    id: str
    address: str | None


class SshConfig(Answer, frozen=True, kw_only=True):
    """Of `hosts ssh-config`."""

    hosts: tuple[ConfiguredHost, ...]


class Orphan(Part, frozen=True, kw_only=True):
    """`kind`: instance, volume, request, interface or group. `late`: it is past its deadline.

    `kept_because`: why `--end` leaves it.
    """

    kind: str
    id: str
    region: str
    state: str
    user: str
    job: str
    why: str
    late: bool
    client: str
    usd_per_month: Usd | None
    kept_because: str | None


class Orphans(Answer, frozen=True, kw_only=True):
    orphans: tuple[Orphan, ...]


class InstanceCost(Part, frozen=True, kw_only=True):
    """`wasted_usd`: of unused hours and of failed runs. `runs`: the cost of each."""

    label: str
    type: str
    job: str
    spot: bool
    launched: Time | None
    state: str
    cost_usd: Usd
    is_price_known: bool
    wasted_usd: Usd
    runs: dict[str, Usd]


class MonthCost(Part, frozen=True, kw_only=True):
    cost_usd: Usd
    wasted_usd: Usd


class Cost(Answer, frozen=True, kw_only=True):
    """`months`: the sums of what was launched in each month, by `2026-11`, with the user's `resources`."""

    instances: tuple[InstanceCost, ...]
    resources: tuple[Resource, ...]
    months: dict[str, MonthCost]


class Copied(Answer, frozen=True, kw_only=True):
    """Of `cp`; the paths are those of the copies: on this machine, or in the folder of the run."""

    run: str
    files: tuple[FetchedFile, ...]


class ForwardedPort(Part, frozen=True, kw_only=True):
    local: int
    remote: int


class Tunnel(Answer, frozen=True, kw_only=True):
    """Printed once the ports are open; the command goes on until Ctrl-C."""

    run: str
    target: str
    ports: tuple[ForwardedPort, ...]
