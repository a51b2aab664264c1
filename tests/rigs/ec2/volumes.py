"""Volumes as real block devices: a sparse file behind a loop device that a machine sees under EBS's name."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
import subprocess
import time
from pathlib import Path

from tests.rigs.patience import PATIENCE

BY_ID = "dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_"
_GET_STATUS, _SET_STATUS, _AUTOCLEAR = 0x4C05, 0x4C04, 4
_FLAGS_AT, _STATUS_SIZE = 52, 232


class Volume:
    """A volume. The kernel detaches its loop device when the last process that uses it ends."""

    def __init__(self, volume_id: str, folder: Path, gigabytes: int) -> None:
        self.id = volume_id
        self._file = folder / f"{volume_id}.img"
        folder.mkdir(parents=True, exist_ok=True)
        with self._file.open("wb") as image:
            image.truncate(gigabytes << 30)
        words = ["losetup", "--find", "--show", str(self._file)]
        self.device = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        self._held = os.open(self.device, os.O_RDWR | os.O_CLOEXEC)
        status = bytearray(_STATUS_SIZE)
        fcntl.ioctl(self._held, _GET_STATUS, status)
        flags = struct.unpack_from("I", status, _FLAGS_AT)[0]
        struct.pack_into("I", status, _FLAGS_AT, flags | _AUTOCLEAR)
        fcntl.ioctl(self._held, _SET_STATUS, status)

    def plug(self, pid: int) -> None:
        """Make the device appear in the machine with this PID 1 (Machine.inside)."""
        root = Path(f"/proc/{pid}/root")
        _await(root / "dev/pts/ptmx")
        number = Path(self.device).stat().st_rdev
        link = root / (BY_ID + self.id.replace("-", ""))
        with contextlib.suppress(FileExistsError):
            os.mknod(root / "dev" / self._name, 0o660 | stat.S_IFBLK, number)
        link.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            link.symlink_to(f"/dev/{self._name}")

    def unplug(self, pid: int) -> None:
        root = Path(f"/proc/{pid}/root")
        (root / (BY_ID + self.id.replace("-", ""))).unlink(missing_ok=True)
        (root / "dev" / self._name).unlink(missing_ok=True)

    def destroy(self) -> None:
        os.close(self._held)
        self._file.unlink(missing_ok=True)

    @property
    def _name(self) -> str:
        return "nvme-" + self.id


def _await(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists() and path.parents[-3].exists() and time.monotonic() < end:
        time.sleep(0.02)
