"""A run over several hosts: which hosts, and what each of them is told about the others. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from orchestrator.core.inputs import Identity, Node
from orchestrator.core.resources import Resources
from orchestrator.core.text import counted
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.core.spec import JobSpec

_FIRST_PORT = 20000
_PORTS = 10000


def split(target: str) -> tuple[str, ...]:
    """The hosts of a target: several with commas between them, or one."""
    return tuple(part.strip() for part in target.split(","))


def join(hosts: Sequence[str]) -> str:
    return ",".join(hosts)


def require_each_once(target: str, example: str) -> tuple[str, ...]:
    """The hosts of a target. UsageError for an empty name, and for one that occurs twice."""
    hosts = split(target)
    if not all(hosts) or len(set(hosts)) < len(hosts):
        raise UsageError(f"--on {target}: each host is named once, with a comma between two", "", example)
    return hosts


def require_hosts(job: JobSpec, where: str, target: str) -> JobSpec:
    """The job with as many nodes as the target has hosts. UsageError where the two do not fit."""
    hosts, nodes = split(target), job.resources.nodes
    if len(hosts) == 1 and (nodes == 1 or target == "ec2"):
        return job
    example = "--on " + join([f"gpu{number}" for number in range(1, max(2, nodes) + 1)])
    require_each_once(target, example)
    if any(host == "ec2" or host.startswith("ec2:") for host in hosts):
        why = "instances reach each other only if they are launched together"
        raise UsageError(
            f"--on {target}: EC2 instances cannot be named for a new run",
            why,
            f"--on ec2 --set resources.nodes={max(2, nodes, len(hosts))}",
        )
    if "local" in hosts:
        why = "the others must reach it over the network"
        raise UsageError(f"--on {target}: local cannot be one of several hosts", why, example)
    if nodes not in (1, len(hosts)):
        what = f"{where}: resources.nodes is {nodes}, and --on names {counted(len(hosts), 'host')}"
        raise UsageError(what, "the first one is rank 0", example)
    resources = msgspec.structs.replace(job.resources, nodes=len(hosts))
    return msgspec.structs.replace(job, resources=resources)


def nodes(
    identity: Identity, hosts: Sequence[str], resources: Resources, addresses: Sequence[str]
) -> list[Node]:
    """The part of each host in the run. `addresses`: those of rank 0, unless the job names one."""
    _, port = _master(resources)
    known = known_addresses(resources, addresses)
    number = int(_digest("port", identity.run_id)[:8], 16) % _PORTS + _FIRST_PORT
    return [
        Node(
            rank,
            tuple(hosts),
            known,
            int(port or number),
            _digest("key", identity.mark),
            identity.mark if rank == 0 else _digest(f"mark {rank}", identity.mark)[:32],
        )
        for rank in range(len(hosts))
    ]


def known_addresses(resources: Resources, addresses: Sequence[str]) -> tuple[str, ...]:
    """By which the others reach rank 0: its own `addresses`, unless the job names one."""
    master, _ = _master(resources)
    return (master,) if master else tuple(dict.fromkeys((*addresses, "127.0.0.1")))


def _master(resources: Resources) -> tuple[str, str]:
    """The address and the port that the job names; "" for each that it does not."""
    master = resources.master
    if master.count(":") > 1 and not master.startswith("["):
        return master, ""  # IPv6
    address, _, port = master.rpartition(":") if ":" in master.rpartition("]")[2] else (master, "", "")
    return address.strip("[]"), port


def torch_warnings(hosts: Sequence[str], versions: Sequence[str | None]) -> tuple[str, ...]:
    """What the user should know where the hosts have different versions of PyTorch."""
    if len(set(versions)) < 2:
        return ()
    each = ", ".join(f"{host} {version or 'none'}" for host, version in zip(hosts, versions, strict=True))
    why = "processes of different versions may hang or fail when they exchange tensors"
    return (f"PyTorch is not the same on all hosts: {each}; {why}",)


def _digest(purpose: str, text: str) -> str:
    return hashlib.sha256(f"gpujob {purpose} {text}".encode()).hexdigest()
