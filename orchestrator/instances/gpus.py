"""Verifies that an instance has the GPUs of its type, so that no training runs on its CPU instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.context import Context
from orchestrator.core import hostchecks
from orchestrator.core.hostfacts import HostFacts
from orchestrator.errors import NoGpus
from orchestrator.instances import catalog
from orchestrator.instances.catalog import InstanceType
from orchestrator.instances.instance import Instance
from orchestrator.instances.spec import BOOT_SECONDS

if TYPE_CHECKING:
    from orchestrator.targets.base import Host

_LEAST_SECONDS = 60.0  # also for an instance that booted long ago: nvidia-smi may be slow
PAUSE = 5.0  # seconds between two reads
_MARGIN = 120.0  # seconds before an unused instance shuts itself down


def wait(ctx: Context, instance: Instance, host: Host, read: Callable[[], HostFacts]) -> HostFacts:
    """Returns the facts of an instance once they show the GPUs of its type.

    The driver may take minutes after a boot. Raises NoGpus if they do not appear before the instance
    would shut itself down as unused. A type that the table does not have is not verified.
    """
    kind = catalog.table().types.get(instance.type)
    until = max(instance.started + BOOT_SECONDS - _MARGIN, ctx.now() + _LEAST_SECONDS)
    facts, is_announced = read(), False
    while kind and (problem := _mismatch(kind, facts)):
        if ctx.now() >= until:
            raise _no_gpus(instance, host, problem)
        if not is_announced:
            ctx.talk(f"waiting for the GPU driver of {instance.label}: {problem}")
            is_announced = True
        ctx.sleep(PAUSE)
        facts = read()
    return facts


def _mismatch(kind: InstanceType, facts: HostFacts) -> str | None:
    """Returns how the GPUs of a host differ from those of its type; None if they do not."""
    expected = f"{kind.name} has {kind.gpus} {kind.gpu}"
    if facts.gpus is None:
        return f"nvidia-smi cannot read them; {expected}"
    if len(facts.gpus) != kind.gpus:
        return f"{len(facts.gpus)} found; {expected}"
    others = [gpu.name for gpu in facts.gpus if not hostchecks.is_model(gpu.name, kind.gpu)]
    return f"{others[0]} found; {expected}" if others else None


def _no_gpus(instance: Instance, host: Host, problem: str) -> NoGpus:
    lines: list[str] = []
    host.run(["sh", "-c", "nvidia-smi 2>&1"], b"", {}, lines.append)
    summary = " ".join(line.strip() for line in lines[:3])
    return NoGpus(
        f"{instance.label} does not have the GPUs of its type: {problem}",
        f"nvidia-smi: {summary or 'prints nothing'}",
        f"gpujob hosts down {instance.label} (terminates it); --set resources.gpus=0 uses its CPU",
    )
