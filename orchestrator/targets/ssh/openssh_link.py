"""Connects with the OpenSSH binary and a ControlMaster, for configurations that paramiko does not support."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator import process
from orchestrator.context import Context
from orchestrator.errors import AccessError, GpujobError, Unreachable
from orchestrator.process import Done
from orchestrator.targets.pipes import ProcessPipe
from orchestrator.targets.ssh import hostkeys
from orchestrator.targets.ssh.address import Resolved, config_words

TIMEOUT = 15.0  # seconds without a byte; a host sends a heartbeat every 2
_DENIED = ("Permission denied", "Too many authentication failures")
_UNKNOWN_KEY = ("Host key verification failed", "host key is known", "IDENTIFICATION HAS CHANGED")


class OpenSSHLink:
    """Starts commands over one master connection; ssh prompts for a passphrase at most once."""

    def __init__(self, ctx: Context, resolved: Resolved) -> None:
        self._ctx = ctx
        self._resolved = resolved
        self._is_open = False

    def open(self, command: str) -> ProcessPipe:
        if not self._is_open:
            self._start_master()
        words = [*ssh_words(self._ctx, self._resolved), *control_options(), "-T"]
        return ProcessPipe([*words, *self._resolved.typed.words(), command], self._ctx.env, TIMEOUT)

    def drop(self) -> None:
        if self._is_open:
            self._master("-O", "exit")
            self._is_open = False

    close = drop

    def _start_master(self) -> None:
        """Starts the master in gpujob's own session, so that ssh can prompt on the terminal.

        Only at the level INFO does ssh report why a connection was lost.
        """
        done = self._master("-fN", "-o", "ControlMaster=yes", first=("-o", "LogLevel=INFO"))
        if done.code:
            raise explain(self._ctx, self._resolved, done.err)
        self._is_open = True

    def _master(self, *words: str, first: tuple[str, ...] = ()) -> Done:
        ssh, *options = ssh_words(self._ctx, self._resolved)
        line = [ssh, *first, *options, *control_options(), *words, *self._resolved.typed.words()]
        return process.capture(line, env=self._ctx.env, on_terminal=True)


def ssh_words(ctx: Context, resolved: Resolved) -> list[str]:
    """Returns `ssh` with the user's configuration and host key checks; no prompts without a terminal."""
    batch = [] if ctx.stdin.isatty() and not ctx.json else ["-o", "BatchMode=yes"]
    return ["ssh", *config_words(ctx), *hostkeys.strict_options(ctx, resolved), *batch]


def control_options() -> list[str]:
    """Returns options for a master that a user's commands share; it ends after 60 s without use."""
    folder = Path(f"/tmp/gpujob-{os.getuid()}-ssh")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise GpujobError(f"{folder} belongs to another user", "", "remove it")
    return ["-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/%C", "-o", "ControlPersist=60"]


def explain(ctx: Context, resolved: Resolved, stderr: str) -> GpujobError:
    """Returns the error that the stderr of ssh reports."""
    last = (stderr.strip().splitlines() or ["the connection was closed without a message"])[-1]
    label = resolved.typed.label
    if any(text in stderr for text in _UNKNOWN_KEY):
        recorded = hostkeys.known(ctx, resolved)
        return hostkeys.refuse(resolved, hostkeys.offered(ctx, resolved), recorded)
    if any(text in stderr for text in _DENIED):
        return AccessError(f"{label} accepts no key of {resolved.user}", last, "ssh-add, or IdentityFile")
    return Unreachable(f"{label} cannot be reached", last, f"gpujob doctor --on {label}")
