"""A control group of its own for each booted machine.

systemd-nspawn starts a machine in the control group of its caller. Machines that share one also share the
groups of their services: while one systemd removes the empty group of a service, another cannot start the
service (its status is 219/CGROUP).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")


def folders(*names: str) -> list[Path]:
    """Return the group below this process's own in each hierarchy that systemd uses; it need not exist."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, hierarchy, path = line.split(":", 2)
        own[hierarchy] = path.lstrip("/")
    unified = MOUNT / "unified"
    mounts = {"name=systemd": MOUNT / "systemd", "": unified if unified.exists() else MOUNT}
    groups = [mounts[hierarchy] / path for hierarchy, path in own.items() if hierarchy in mounts]
    return [group.joinpath(*names) for group in groups if (group / "cgroup.procs").exists()]


def of_slot(number: int | str) -> str:
    """Return the name of the group that holds the machines of a slot."""
    return f"gpujob-rig-{number}"


def make(*names: str) -> list[Path]:
    """Create the group in each hierarchy."""
    groups = folders(*names)
    for group in groups:
        group.mkdir(parents=True, exist_ok=True)
    return groups


def remove(*names: str) -> None:
    """Remove the group and those below it. One with a process that still ends is left."""
    for group in folders(*names):
        below = [path for path in group.rglob("*") if path.is_dir()]
        for folder in sorted([*below, group], key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
