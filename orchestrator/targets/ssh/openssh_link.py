"""The OpenSSH binary with a ControlMaster, where the configuration asks for what paramiko cannot do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from orchestrator.context import Context
from orchestrator.errors import AccessError, GpujobError, Unreachable
from orchestrator.targets.pipes import ProcessPipe
from orchestrator.targets.ssh import hostkeys
from orchestrator.targets.ssh.address import Resolved, config_words

PATIENCE = 15.0
_DENIED = ("Permission denied", "Too many authentication failures")
_STRANGER = ("Host key verification failed", "host key is known", "IDENTIFICATION HAS CHANGED")


class OpenSSHLink:
    """Commands over one master connection, which asks for a passphrase on the terminal at most once."""

    def __init__(self, ctx: Context, resolved: Resolved) -> None:
        self._ctx = ctx
        self._resolved = resolved
        self._up = False

    def open(self, command: str) -> ProcessPipe:
        if not self._up:
            self._start_master()
        words = [*ssh_words(self._ctx, self._resolved), *control(), "-T"]
        return ProcessPipe([*words, *self._resolved.typed.words(), command], self._ctx.env, PATIENCE)

    def drop(self) -> None:
        if self._up:
            self._master("-O", "exit")
            self._up = False

    close = drop

    def _start_master(self) -> None:
        """In our own session, so that ssh may ask on the terminal. Of a lost line it tells at INFO only."""
        done = self._master("-fN", "-o", "ControlMaster=yes", level=["-o", "LogLevel=INFO"])
        if done.returncode:
            raise explain(self._ctx, self._resolved, done.stderr)
        self._up = True

    def _master(self, *words: str, level: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        ssh, *more = ssh_words(self._ctx, self._resolved)
        line = [ssh, *level, *more, *control(), *words, *self._resolved.typed.words()]
        env, err = dict(self._ctx.env), subprocess.PIPE
        return subprocess.run(line, env=env, stderr=err, text=True, errors="replace", check=False)


def ssh_words(ctx: Context, resolved: Resolved) -> list[str]:
    """`ssh` with the user's configuration and our strictness; asks nothing where there is no terminal."""
    batch = [] if ctx.stdin.isatty() and not ctx.json else ["-o", "BatchMode=yes"]
    return ["ssh", *config_words(ctx), *hostkeys.strict_options(ctx, resolved), *batch]


def control() -> list[str]:
    """A master that commands of one user share, and that goes away by itself."""
    folder = Path(f"/tmp/gpujob-{os.getuid()}-ssh")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise GpujobError(f"{folder} belongs to somebody else", "", "remove it")
    return ["-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/%C", "-o", "ControlPersist=60"]


def explain(ctx: Context, resolved: Resolved, said: str) -> GpujobError:
    """What ssh printed on stderr → the error it stands for."""
    last = (said.strip().splitlines() or ["the connection was closed without a word"])[-1]
    label = resolved.typed.label
    if any(word in said for word in _STRANGER):
        on_record = hostkeys.known(ctx, resolved)
        return hostkeys.refuse(resolved, hostkeys.offered(ctx, resolved), on_record)
    if any(word in said for word in _DENIED):
        return AccessError(f"{label} accepts no key of {resolved.user}", last, "ssh-add, or IdentityFile")
    return Unreachable(f"{label} cannot be reached", last, f"gpujob doctor --on {label}")
