"""The rsync of this machine: whether it can move files, looked at before anything starts or is paid for."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

from orchestrator.context import Context
from orchestrator.errors import GpujobError

NAME = "rsync here"
OLDEST = (3, 1)  # --info=progress2, --outbuf
_VERSION = re.compile(r"rsync version v?(\d+)\.(\d+)")


def require(ctx: Context) -> None:
    """GpujobError where there is none, or one that cannot do it: macOS comes with such."""
    if wrong := _problem(ctx):
        raise wrong


def row(ctx: Context) -> tuple[str, str, str, str]:
    """Of `doctor`."""
    if wrong := _problem(ctx):
        return (NAME, "missing", wrong.why or "not installed", wrong.next_step)
    return (NAME, "ok", _seen(_path(ctx) or ""), "")


def _problem(ctx: Context) -> GpujobError | None:
    path, mac = _path(ctx), ctx.platform == "darwin"
    install = "brew install rsync" if mac else "sudo apt-get install -y rsync (or this system's own way)"
    if path is None:
        return GpujobError("rsync is not installed here", "", install)
    if usable(_seen(path)):
        return None
    why = f"{path} is {_seen(path)}; GNU rsync {OLDEST[0]}.{OLDEST[1]} or newer is needed"
    return GpujobError("the rsync here cannot be used", why, install)


def usable(said: str) -> bool:
    """Of what an rsync says of itself. Pure."""
    found = _VERSION.match(said)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST


def _path(ctx: Context) -> str | None:
    return shutil.which("rsync", path=ctx.env.get("PATH"))


@cache
def _seen(path: str) -> str:
    """The first line of --version (of openrsync two), asked once a command."""
    try:
        done = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        return f"no program ({error.strerror})"
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines() or ["silent"]
    lines = lines[:2] if lines[0].startswith("openrsync") else lines[:1]
    return ", ".join(" ".join(line.split()) for line in lines)
