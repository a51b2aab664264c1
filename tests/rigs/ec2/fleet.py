"""The machines behind the instances: power, addresses, metadata, packet filter and volumes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.rigs.ec2.booted import BootedMachine
from tests.rigs.ec2.gpus import nvidia_smi
from tests.rigs.ec2.groups import PacketFilter, admits
from tests.rigs.ec2.machine import Birth, Machine
from tests.rigs.ec2.metadata import Metadata
from tests.rigs.ec2.plain import PlainMachine
from tests.rigs.ec2.settings import Settings
from tests.rigs.ec2.slots import Slot, metadata_address
from tests.rigs.ec2.spot import SpotRequests
from tests.rigs.ec2.visibility import Visibility
from tests.rigs.ec2.volumes import Volume
from tests.rigs.patience import PATIENCE

KINDS: dict[str, type[Machine]] = {kind.kind: kind for kind in (PlainMachine, BootedMachine)}  # type: ignore[attr-defined]
INFO = ("instance-id", "instance-type", "placement/availability-zone", "instance-life-cycle")


@dataclass
class Member:
    """`instance` is moto's. `plugged`: the volumes that its machine sees."""

    instance: Any
    machine: Machine
    metadata: Metadata
    ip: str
    plugged: dict[str, Volume] = field(default_factory=dict)


class Fleet:
    def __init__(self, slot: Slot, settings: Settings) -> None:
        self.settings = settings
        self.visibility = Visibility(settings)
        self.spot = SpotRequests()
        self.lifecycle: Any = None  # of the instances (lifecycle.py)
        self._slot = slot
        self._addresses = slot.addresses()
        self._members: dict[str, Member] = {}
        self._volumes: dict[str, Volume] = {}
        self._isolated: set[str] = set()
        self._filter = PacketFilter(slot.table)
        self._lock = threading.RLock()

    def member(self, instance_id: str) -> Member | None:
        return self._members.get(instance_id)

    def members(self) -> dict[str, Member]:
        return dict(self._members)

    def launch(self, instance: Any, public_key: str | None, off: Callable[[], None]) -> None:
        """Create a machine for a new instance, not powered on. `off` is called when it powers itself off."""
        with self._lock:
            ip = next(self._addresses)
            metadata = Metadata(metadata_address(ip), lambda: _told(instance))
            birth = Birth(
                instance.id,
                self._slot.folder / instance.id,
                self.settings.user,
                public_key,
                metadata.url,
                self.settings.disk_mb,
                tuple(Path(folder) for folder in self.settings.visible),
                nvidia_smi(instance.instance_type, self.settings.gpu_driver),
            )
            machine = KINDS[self.settings.kind](birth, off)
            self._members[instance.id] = Member(instance, machine, metadata, ip)
        self.sync_groups()

    def power_on(self, member: Member, user_data: bytes) -> None:
        """Power the machine on, after plugging its attached volumes so that the system finds them."""
        member.machine.start(member.ip, user_data)
        for volume in list(member.plugged.values()):
            self._plug(member, volume)

    def readdress(self, member: Member) -> None:
        with self._lock:
            member.ip = next(self._addresses)
        self.sync_groups()

    def destroy(self, instance_id: str) -> None:
        with self._lock:
            member = self._members.pop(instance_id, None)
        if member is None:
            return
        member.machine.destroy()
        member.metadata.close()
        self.sync_groups()

    def sync_groups(self) -> None:
        with self._lock:
            members = list(self._members.values())
            closed = [m.ip for m in members if not admits(m.instance, self.settings.caller)]
            self._filter.fill("closed", closed)
            self._filter.fill("isolated", [m.ip for m in members if m.instance.id in self._isolated])

    def isolate(self, instance_id: str) -> None:
        """Drop every packet to and from this machine."""
        self._isolated.add(instance_id)
        self.sync_groups()

    def attach(self, volume: Any, instance_id: str) -> None:
        """`volume` is moto's; the root volume is the machine's own disk and no device of ours."""
        member = self._members.get(instance_id)
        if member is None:
            return
        with self._lock:
            if volume.id not in self._volumes:
                self._volumes[volume.id] = Volume(volume.id, self._slot.folder / "volumes", int(volume.size))
            member.plugged[volume.id] = self._volumes[volume.id]
        if member.machine.is_on:
            self._plug(member, self._volumes[volume.id])

    def detach(self, volume_id: str) -> None:
        for member in self.members().values():
            volume = member.plugged.pop(volume_id, None)
            if volume is not None and member.machine.pid is not None:
                with contextlib.suppress(RuntimeError, OSError):
                    volume.unplug(member.machine.inside())

    def delete_volume(self, volume_id: str) -> None:
        volume = self._volumes.pop(volume_id, None)
        if volume is not None:
            volume.destroy()

    def clear(self) -> None:
        """End all machines and remove all volumes."""
        for instance_id in list(self._members):
            self.destroy(instance_id)
        for volume_id in list(self._volumes):
            self.delete_volume(volume_id)
        self._isolated.clear()
        self.spot.requests.clear()

    def close(self) -> None:
        self.clear()
        self._filter.close()

    def _plug(self, member: Member, volume: Volume) -> None:
        """Repeated while the machine is on: its processes come and go while it starts."""
        until = time.monotonic() + PATIENCE
        while member.machine.is_on and time.monotonic() < until:
            with contextlib.suppress(RuntimeError, OSError):
                volume.plug(member.machine.inside())
                return
            time.sleep(0.02)


def later(seconds: float, act: Callable[[], None]) -> None:
    """Run `act` in a thread after a delay."""

    def go() -> None:
        time.sleep(seconds)
        act()

    threading.Thread(target=go, daemon=True).start()


def _told(instance: Any) -> dict[str, str]:
    """Return the values of the metadata service for an instance."""
    values = (
        instance.id,
        instance.instance_type,
        instance.availability_zone,
        instance.lifecycle or "on-demand",
    )
    metadata = dict(zip(INFO, map(str, values), strict=True))
    if instance.metadata_options.instance_metadata_tags == "enabled":
        metadata |= {f"tags/instance/{tag['key']}": str(tag["value"]) for tag in instance.get_tags()}
    return metadata
