"""Programs and rights that tests need; without them a test is skipped or fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MARKERS: dict[str, Callable[[], None]] = {
    "tmux": lambda: require("tmux"),
    "sshd": lambda: require("sshd", "ssh", "ssh-keygen", "rsync", "setpriv", "unshare"),
    "root": lambda: require_root(),
    "ec2": lambda: require_ec2(),
    "browser": lambda: require_browser(),
}
"""What a test with the marker needs; see tests/README.md."""
EC2_TOOLS = (
    "systemd-nspawn",
    "nft",
    "cloud-init",
    "sshd",
    "ssh",
    "sudo",
    "losetup",
    "mkfs.ext4",
    "unshare",
    "setpriv",
)
BROWSERS = ("chromium", "chromium-headless-shell", "google-chrome")
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
INSTALL = "type: bash scripts/system.sh"


def tool(name: str) -> str | None:
    """Return the absolute path of a program in PATH or the sbin folders; None if there is none."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(SBIN))


def is_root() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0


def require(*tools: str) -> None:
    """Skip or fail the test unless these programs are installed.

    On Linux as root a missing one fails the test, since a script installs it; elsewhere it is skipped.
    """
    if sys.platform != "linux":
        pytest.skip("the rigs need Linux")
    missing = [name for name in tools if tool(name) is None]
    if missing and is_root():
        pytest.fail(f"missing: {' '.join(missing)}. To install: {INSTALL}")
    if missing:
        pytest.skip(f"missing: {' '.join(missing)}. To install: sudo {INSTALL.removeprefix('type: ')}")


def require_root() -> None:
    """Skips the test unless it runs on Linux as root."""
    if not is_root():
        pytest.skip("namespaces need Linux and root")


def browser() -> str | None:
    """Return the path of a Chromium; None if there is none."""
    return next((path for name in BROWSERS if (path := tool(name))), None)


def require_browser() -> None:
    """Skip the test without a Chromium; fail it where `scripts/system.sh` can install one (Debian)."""
    if browser() is None:
        system = Path("/etc/os-release")
        if is_root() and system.exists() and "\nID=debian\n" in f"\n{system.read_text()}\n":
            pytest.fail(f"missing: {BROWSERS[1]}. To install: {INSTALL}")
        pytest.skip(f"missing: {' or '.join(BROWSERS)}")


def require_ec2() -> None:
    """Skip or fail the test unless the simulated EC2 can run."""
    require_root()
    require(*EC2_TOOLS)
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode:
        pytest.skip("this container allows no namespaces of its own")


def sftp_server() -> str:
    """Return the path of the system's sftp server, else the name of the one built into sshd."""
    folders = ("/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh", "/usr/libexec")
    paths = [path for path in (Path(folder, "sftp-server") for folder in folders) if path.exists()]
    return str(paths[0]) if paths else "internal-sftp"
