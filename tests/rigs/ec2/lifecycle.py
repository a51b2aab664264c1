"""Gives moto's instances a machine and states that take time; in moto they change at once."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.amis import Ami
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.models.security_groups import SecurityGroupBackend

from tests.rigs.ec2 import attachments
from tests.rigs.ec2.fleet import Fleet, Member, later
from tests.rigs.ec2.images import ROOT_GB

CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}


def install(fleet: Fleet) -> None:
    """Replace methods of moto's classes, for the life of this process."""
    fleet.lifecycle = _Lifecycle(fleet)
    fleet.lifecycle.install()
    attachments.install(fleet)


class _Lifecycle:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.run = InstanceBackend.run_instances
        self.terminate = _without_state(Instance.terminate)
        self.stop, self.start = _without_state(Instance.stop), _without_state(Instance.start)
        self.reservations = InstanceBackend.all_reservations
        self.groups = SecurityGroupBackend.describe_security_groups

    def install(self) -> None:
        address = property(self._address)
        classes: dict[type, dict[str, Any]] = {
            Instance: {
                "terminate": lambda instance: self._terminate(instance),
                "stop": lambda instance: self._stop(instance),
                "start": lambda instance: self._start(instance),
                "reboot": lambda instance: self._reboot(instance),
                "public_ip": address,
                "public_ip_address": address,
            },
            InstanceBackend: {
                "run_instances": lambda backend, *args, **more: self._run(backend, *args, **more),
                "all_reservations": lambda backend, filters=None: self._visible(backend, filters),
            },
            Ami: {"block_device_mappings": property(lambda image: _disks(image))},
            SecurityGroupBackend: {
                "describe_security_groups": lambda *args, **more: self._shown(self.groups(*args, **more)),
            },
        }
        for kind, methods in classes.items():
            for name, method in methods.items():
                setattr(kind, name, method)

    def _run(self, backend: Any, image: str, count: int, data: Any, groups: list[str], **more: Any) -> Any:
        tags = dict(more.get("tags") or {})
        kept = [args.get("DeleteOnTermination") is False for args in more.get("nics") or []]
        reservation = self.run(backend, image, count, data, groups, **more)
        pair = backend.key_pairs.get(more.get("key_name"))
        for instance in reservation.instances:
            instance.launched = time.monotonic()
            instance.launched_disks = more.get("block_device_mappings") or []
            for number, card in instance.nics.items():
                card.delete_on_termination = True not in kept[number : number + 1]
                card.add_tags(tags.get("network-interface", {}))
            if self.fleet.settings.machines:
                off = _bound(self._off, instance)
                self.fleet.launch(instance, pair.public_key.strip() if pair else None, off)
                for attached in list(instance.block_device_mapping.values())[1:]:
                    self.fleet.attach(backend.volumes[attached.volume_id], instance.id)
            _set(instance, "pending")
            self._come_up(instance)
        return reservation

    def _come_up(self, instance: Any) -> None:
        def running() -> None:
            if instance._state.name == "pending":
                _set(instance, "running")
                later(self.fleet.settings.boot, lambda: self._power_on(instance))

        later(self.fleet.settings.pending, running)

    def _power_on(self, instance: Any) -> None:
        member = self.fleet.member(instance.id)
        if member is not None and instance._state.name == "running":
            data = instance.user_data.decode().encode() if instance.user_data else b""
            self.fleet.power_on(member, data)

    def _off(self, instance: Any) -> None:
        """The machine powered itself off: EC2 stops or terminates the instance, as it was launched.

        One that rebooted is powered on again.
        """
        if instance._state.name != "running":
            return
        member = self.fleet.member(instance.id)
        if member is not None and member.machine.has_rebooted:
            self._power_on(instance)
            return
        is_one_time = instance.lifecycle == "spot" and not self._is_persistent(instance)
        if is_one_time or instance.instance_initiated_shutdown_behavior == "terminate":
            self._terminate(instance, "Client.InstanceInitiatedShutdown")
        else:
            self._stop(instance, "Client.InstanceInitiatedShutdown")

    def _terminate(self, instance: Any, reason: str = "Client.UserInitiatedShutdown") -> Any:
        before = copy.copy(instance._state)
        if before.name in ("terminated", "shutting-down"):
            return before
        _set(instance, "shutting-down", reason)

        def gone() -> None:
            self.fleet.destroy(instance.id)
            time.sleep(self.fleet.settings.stopping)
            self.terminate(instance)
            _set(instance, "terminated", reason)
            self._replace(instance)

        later(0, gone)
        return before

    def _is_persistent(self, instance: Any) -> bool:
        request = self.fleet.spot.of(instance.id)
        return request is not None and request.is_persistent

    def _replace(self, instance: Any) -> None:
        """Launch another instance for a persistent request that was not cancelled, without its tags."""
        request = self.fleet.spot.of(instance.id)
        if request is None or not request.replaces:
            return
        backend, kind = instance.ec2_backend, instance.instance_type
        more = {"is_instance_type_default": False, "lifecycle": "spot", "region_name": request.region}
        more["block_device_mappings"] = getattr(instance, "launched_disks", [])
        made = self.run(backend, instance.image_id, 1, "", [], instance_type=kind, **more)
        request.instance = made.instances[0].id

    def interrupt(self, instance: Any) -> None:
        """EC2 takes the capacity of a spot instance back, and stops or terminates it as its request says."""
        request = self.fleet.spot.of(instance.id)
        if request is None or not request.stops:
            self._terminate(instance, "Server.SpotInstanceTermination")
            return
        request.state = "open"
        self._stop(instance, "Server.SpotInstanceShutdown")

    def offer_capacity(self, instance: Any) -> None:
        """EC2 starts an interrupted instance again."""
        request = self.fleet.spot.of(instance.id)
        if request is not None and request.state == "open" and instance._state.name == "stopped":
            request.state = "active"
            self._start(instance)

    def _stop(self, instance: Any, reason: str = "Client.UserInitiatedShutdown") -> Any:
        before = copy.copy(instance._state)
        if before.name in ("stopped", "stopping"):
            return before
        if before.name not in ("running", "pending"):
            raise _wrong_state(instance, "stopped")
        request = self.fleet.spot.of(instance.id)
        if request is not None and request.state == "active":
            request.state = "disabled"  # its user stopped it
        if instance.lifecycle == "spot" and not self._is_persistent(instance):
            raise EC2ClientError(
                "UnsupportedOperation", f"You can't stop the Spot Instance '{instance.id}': it is one-time."
            )
        _set(instance, "stopping", reason)

        def off() -> None:
            member = self.fleet.member(instance.id)
            if member is not None:
                member.machine.stop()
            time.sleep(self.fleet.settings.stopping)
            self.stop(instance)
            _set(instance, "stopped", reason)

        later(0, off)
        return before

    def _start(self, instance: Any) -> Any:
        before = copy.copy(instance._state)
        if before.name in ("running", "pending"):
            return before
        if before.name != "stopped":
            raise _wrong_state(instance, "started")
        if getattr(instance, "is_starting", False):
            return before
        request = self.fleet.spot.of(instance.id)
        if request is not None and request.state in ("open", "cancelled"):
            raise EC2ClientError(
                "IncorrectSpotRequestState",
                f"You can't start the Spot Instance '{instance.id}' because the associated Spot Instance "
                "request is not in an appropriate state to support start.",
            )
        if request is not None:
            request.state = "active"
        instance.is_starting = True

        def start() -> None:
            instance.is_starting = False
            self.start(instance)
            _set(instance, "pending")
            member = self.fleet.member(instance.id)
            if member is not None:
                self.fleet.readdress(member)
            self._come_up(instance)

        later(self.fleet.settings.stale, start)
        return before

    def _reboot(self, instance: Any) -> Any:
        """The system of the machine is asked to reboot; the instance stays running, with its address."""
        if instance._state.name != "running":
            raise _wrong_state(instance, "rebooted")
        member = self.fleet.member(instance.id)
        if member is not None:
            later(0, member.machine.reboot)
        return instance._state

    def _address(self, instance: Any) -> str | None:
        """Return the machine's address while the instance has one."""
        member: Member | None = self.fleet.member(instance.id)
        has_address = instance._state.name in ("pending", "running") and instance.nics[0].public_ip
        return member.ip if member is not None and has_address else None

    def _visible(self, backend: Any, filters: Any) -> Any:
        """Remove instances that are too new to be visible (eventual consistency)."""
        known, shown = time.monotonic() - self.fleet.settings.hidden, []
        for reservation in self.reservations(backend, filters):
            visible = [
                i
                for i in reservation.instances
                if getattr(i, "launched", 0) <= known and self.fleet.visibility.shows(i.id)
            ]
            if len(visible) < len(reservation.instances):
                reservation = copy.copy(reservation)
                reservation.instances = visible
            if visible:
                shown.append(reservation)
        return shown

    def _shown(self, groups: list[Any]) -> list[Any]:
        return [group for group in groups if self.fleet.visibility.shows(group.id)]


def _bound(act: Callable[[Any], None], instance: Any) -> Callable[[], None]:
    return lambda: act(instance)


def _without_state(change: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Return moto's change of an instance without the state that it sets: `_set` does that, and only once.

    A test that saw the state of moto's change could make the next one before `_set` was called, which then
    overwrote its state.
    """

    def changed(instance: Any) -> None:
        apart = copy.copy(instance)
        apart._state = copy.copy(instance._state)
        change(apart)
        instance._reason, instance.state_reason = apart._reason, apart.state_reason

    return changed


def _set(instance: Any, name: str, reason: str | None = None) -> None:
    instance._state.name, instance._state.code = name, CODES[name]
    if reason:
        instance.state_reason.code = instance.state_reason.message = reason


def _wrong_state(instance: Any, required: str) -> EC2ClientError:
    message = f"The instance '{instance.id}' is not in a state from which it can be {required}."
    return EC2ClientError("IncorrectInstanceState", message)


def _disks(image: Ami) -> list[dict[str, Any]]:
    """Return the disks of an image with its real size; moto reports 15 GB for every image."""
    ebs = {"VolumeSize": ROOT_GB, "DeleteOnTermination": True, "VolumeType": "gp3"}
    ebs["SnapshotId"] = image.ebs_snapshot.id
    return [{"DeviceName": image.root_device_name, "Ebs": ebs}]
