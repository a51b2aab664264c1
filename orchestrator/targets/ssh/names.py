"""Whether a name after --on is a slip of the keys."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from orchestrator.context import Context
from orchestrator.core.sshconfig import host_names
from orchestrator.core.text import closest
from orchestrator.errors import UsageError
from orchestrator.store import Store
from orchestrator.targets.ssh.address import Resolved, doctor

_MOST = 1 << 20  # bytes of ssh_config that are read


def require_plausible(ctx: Context, to: Resolved) -> None:
    """UsageError for a name that no configuration and no name server knows, and that is close to another."""
    name = to.typed.name
    if name != to.typed.label or name != to.hostname or {"proxyjump", "proxycommand"} & set(to.unsupported):
        return
    known = _known(ctx)
    close = None if name in known else closest(name, known)
    if close and not _resolves(name):
        what = f"--on {name}: there is no host of this name"
        raise UsageError(what, f"did you mean {close}?", doctor(close))


def _known(ctx: Context) -> list[str]:
    """Targets that have answered, and hosts of ssh_config."""
    path = Path(ctx.env.get("GPUJOB_SSH_CONFIG") or f"{ctx.env.get('HOME', '')}/.ssh/config")
    text = ""
    with contextlib.suppress(OSError), path.open("rb") as config:
        text = config.read(_MOST).decode("utf-8", "replace")
    return ["local", "ec2", *Store(ctx.state_dir).targets(), *host_names(text)]


def _resolves(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None))
    except (OSError, UnicodeError):
        return False
