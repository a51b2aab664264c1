"""Makes moto attach volumes to machines, and refuse what EC2 refuses."""

from __future__ import annotations

from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.elastic_block_store import EBSBackend

from tests.rigs.ec2.fleet import Fleet


def install(fleet: Fleet) -> None:
    """Replace methods of moto's class of volumes, for the life of this process."""
    _Attachments(fleet).install()


class _Attachments:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.attach, self.detach = EBSBackend.attach_volume, EBSBackend.detach_volume
        self.delete, self.volumes = EBSBackend.delete_volume, EBSBackend.describe_volumes

    def install(self) -> None:
        methods: dict[str, Any] = {
            "attach_volume": lambda backend, *args, **more: self._attach(backend, *args, **more),
            "detach_volume": lambda backend, *args, **more: self._detach(backend, *args, **more),
            "delete_volume": lambda backend, volume_id: self._delete(backend, volume_id),
            "describe_volumes": lambda *args, **more: self._shown(*args, **more),
        }
        for name, method in methods.items():
            setattr(EBSBackend, name, method)

    def _shown(self, *args: Any, **more: Any) -> list[Any]:
        return [one for one in self.volumes(*args, **more) if self.fleet.visibility.shows(one.id)]

    def _attach(self, backend: Any, volume_id: str, instance_id: str, *args: Any, **more: Any) -> Any:
        volume = backend.volumes.get(volume_id)
        instance = next((i for i in backend.all_instances() if i.id == instance_id), None)
        if instance is not None and volume is not None:
            self._check(instance, volume)
        attachment = self.attach(backend, volume_id, instance_id, *args, **more)
        if volume is not None:
            self.fleet.attach(volume, instance_id)
        return attachment

    def _check(self, instance: Any, volume: Any) -> None:
        """Reject what EC2 rejects and moto accepts. A root volume at launch has no machine yet."""
        if self.fleet.member(instance.id) is None:
            return
        if volume.attachment is not None:
            raise EC2ClientError("VolumeInUse", f"{volume.id} is already attached to an instance")
        if volume.zone.name != instance.availability_zone:
            raise EC2ClientError(
                "InvalidVolume.ZoneMismatch",
                f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'",
            )
        if instance._state.name not in ("running", "stopped"):
            raise EC2ClientError("IncorrectState", f"Instance '{instance.id}' is not 'running'.")

    def _detach(self, backend: Any, volume_id: str, *args: Any, **more: Any) -> Any:
        self.fleet.detach(volume_id)
        return self.detach(backend, volume_id, *args, **more)

    def _delete(self, backend: Any, volume_id: str) -> Any:
        deleted = self.delete(backend, volume_id)
        self.fleet.delete_volume(volume_id)
        return deleted
