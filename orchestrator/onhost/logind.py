"""What systemd-logind does to a user's processes and shared memory at the last logout."""

from __future__ import annotations

import os
import pwd
import subprocess
from typing import Any

_SYSTEM_USERS = 1000  # below it logind leaves a user alone, root included


def at_logout() -> dict[str, Any] | None:
    """`kills` (processes) and `removes` (POSIX shared memory, semaphores); None where neither happens."""
    uid = os.getuid()
    if uid < _SYSTEM_USERS:
        return None
    said = _said("show-session", "--property=KillUserProcesses", "--property=RemoveIPC")
    user = pwd.getpwuid(uid).pw_name
    if "=yes" not in said or "Linger=yes" in _said("show-user", user, "--property=Linger"):
        return None
    found = {"kills": "KillUserProcesses=yes" in said, "removes": "RemoveIPC=yes" in said}
    return dict(found, user=user)


def _said(*words: str) -> str:
    """Nothing where there is no logind to ask."""
    try:
        done = subprocess.run(
            ["loginctl", "--no-pager", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")
