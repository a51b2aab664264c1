"""The OpenSSH of this machine for one host: a master connection that commands, rsync and terminals share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import subprocess
from functools import cached_property
from pathlib import Path

from orchestrator import files, process
from orchestrator.context import Context
from orchestrator.core import shell
from orchestrator.errors import AccessError, GpujobError, Unreachable
from orchestrator.process import Done
from orchestrator.targets import pipes
from orchestrator.targets.helper_host import StartFailure
from orchestrator.targets.pipes import ProcessPipe
from orchestrator.targets.ssh import hostkeys, link
from orchestrator.targets.ssh.address import Resolved, config_words

_CHECK_SECONDS = 90.0  # more than start-up files may take (host.py)
_FOLDER = f"/tmp/gpujob-{os.getuid()}-ssh"
_LONGEST_FOLDER = 46  # bytes: ssh appends a slash, 40 hex digits and, while it makes a socket, 17 more
CONNECT_SECONDS = 10  # unless ssh_config has a ConnectTimeout
_DENIED = ("Permission denied", "Too many authentication failures")
_TOO_OPEN = re.compile(r"Permissions \d+ for '(.+)' are too open")
_UNKNOWN_KEY = ("Host key verification failed", "host key is known", "IDENTIFICATION HAS CHANGED")


class OpenSSH:
    """Starts `ssh` over one master connection: the user's own while it is open, else one of gpujob's.

    gpujob's master serves every command of the user for this host, and ends after 60 s without use; ssh
    prompts for a passphrase, a password or a code once for it.
    """

    def __init__(self, ctx: Context, resolved: Resolved) -> None:
        self._ctx = ctx
        self._resolved = resolved
        self._is_open = False
        self._may_use_users_master = True

    def open(self, command: str) -> ProcessPipe:
        """Starts a command on the host. Raises Unreachable or AccessError if the login fails."""
        self.ensure_master()
        words = [*self.words(), "-T", *self._resolved.typed.words(), command]
        return ProcessPipe(words, self._ctx.env, pipes.TIMEOUT)

    def drop(self) -> None:
        """Ends a master that is broken; the user's own is left alone and not used again."""
        if self.uses_users_master:
            self._may_use_users_master = False
            del self.uses_users_master
        elif self._is_open:
            self._master("-O", "exit")
            self._is_open = False

    def close(self) -> None:
        """Leaves the master to later commands."""

    def words(self) -> list[str]:
        """Returns `ssh` with options that share the master; the destination is to follow."""
        return ["ssh", *self._options()]

    def shell_words(self) -> list[str]:
        """Returns `ssh` for an interactive shell, in which the user's agent and X11 forwarding work."""
        forwardings = {"ForwardAgent=no", "ForwardX11=no"}
        if forwardings.isdisjoint(self._resolved.neutral):
            return self.words()
        settings = [setting for setting in self._settings() if setting not in forwardings]
        return ["ssh", "-S", "none", *config_words(self._ctx), *_options(settings)]

    @cached_property
    def _folder(self) -> Path:
        return _control_folder(self._ctx)

    @cached_property
    def uses_users_master(self) -> bool:
        """Whether a connection that the user opened (ControlMaster in ssh_config) is used."""
        if not (self._may_use_users_master and self._resolved.has_control_path):
            return False
        check = ["ssh", *config_words(self._ctx), "-O", "check", *self._resolved.typed.words()]
        return process.capture(check, env=self._ctx.env).code == 0

    def ensure_master(self) -> None:
        """Logs in unless a master is open. One command at a time does, so that one prompts."""
        if self._is_open or self.uses_users_master:
            return
        digest = hashlib.sha256("\0".join(self._resolved.typed.words()).encode()).hexdigest()[:16]
        with files.lock(self._folder / f"{digest}.lock"):
            if self._master("-O", "check").code:
                self._start_master()
        self._is_open = True

    def is_open(self) -> bool:
        """Whether the master, gpujob's or the user's, has a connection."""
        if not (self._is_open or self.uses_users_master):
            return False
        return process.capture(self._master_words("-O", "check"), env=self._ctx.env).code == 0

    def check(self) -> None:
        """Runs a command on the host. Raises the error that ssh reports if that is not possible."""
        self.ensure_master()
        words = [*self.words(), "-T", *self._resolved.typed.words(), "exit 0"]
        try:
            done = process.capture(words, env=self._ctx.env, seconds=_CHECK_SECONDS)
        except subprocess.TimeoutExpired:
            what = f"{self._resolved.typed.label} does not end a connection within {_CHECK_SECONDS:.0f} s"
            why = "a program that a start-up file (~/.bashrc) leaves in the background keeps it open"
            next_step = "there, start it with: PROGRAM </dev/null >/dev/null 2>&1 &"
            raise StartFailure(what, why, next_step) from None
        if done.code:
            raise self.explain(done.err)

    def explain(self, stderr: str) -> GpujobError:
        """Returns the error that the stderr of ssh reports, in its own words."""
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        reason = "; ".join(lines[-2:]) or "the connection was closed without a message"
        to = self._resolved
        if any(text in stderr for text in _UNKNOWN_KEY):
            recorded = hostkeys.known(self._ctx, to)
            return hostkeys.refuse(to, hostkeys.offered(self._ctx, to), recorded)
        if any(text in stderr for text in _DENIED):
            what = f"{to.typed.label} accepts no key of {to.user}"
            return AccessError(what, _tried(to, reason), _remedy(to, stderr))
        words = ["ssh", *config_words(self._ctx), *to.typed.words()]
        return Unreachable(f"{to.typed.label} cannot be reached", reason, f"{shell.join(words)} true")

    def _start_master(self) -> None:
        """Starts the master in gpujob's own session, so that ssh can prompt on the terminal.

        Only at the level INFO does ssh report why a connection was lost. `-N` has to come before SessionType.
        """
        done = self._master("-o", "ControlMaster=yes", first=("-fN", "-o", "LogLevel=INFO"))
        if done.code:
            raise self.explain(done.err)

    def _master(self, *words: str, first: tuple[str, ...] = ()) -> Done:
        return process.capture(self._master_words(*words, first=first), env=self._ctx.env, on_terminal=True)

    def _master_words(self, *words: str, first: tuple[str, ...] = ()) -> list[str]:
        return ["ssh", *first, *words, *self._options(), *self._resolved.typed.words()]

    def _options(self) -> list[str]:
        return [*config_words(self._ctx), *_options(self._settings())]

    def _settings(self) -> list[str]:
        """Returns the settings of every call: host keys checked, nothing forwarded, the master shared."""
        to = self._resolved
        return [
            *hostkeys.strict_settings(self._ctx, to),
            *([] if to.connect_timeout else [f"ConnectTimeout={CONNECT_SECONDS}"]),
            *("ServerAliveInterval=5", "ServerAliveCountMax=3", "LogLevel=ERROR"),
            *to.neutral,
            *(["ControlMaster=no"] if self.uses_users_master else self._control_settings()),
            *([] if self._ctx.stdin.isatty() and not self._ctx.json else ["BatchMode=yes"]),
        ]

    def _control_settings(self) -> list[str]:
        return ["ControlMaster=auto", f'ControlPath="{self._folder}/%C"', "ControlPersist=60"]


def _options(settings: list[str]) -> list[str]:
    return [word for setting in settings for word in ("-o", setting)]


def _tried(resolved: Resolved, reason: str) -> str:
    keys = [str(path) for path in link.usable_identities(resolved)]
    tried = keys + (["the agent"] if resolved.agent else [])
    return f"tried: {', '.join(tried) or 'nothing: no key file, no agent'} ({reason})"


def _remedy(resolved: Resolved, stderr: str) -> str:
    """Returns the command that makes a key usable which ssh would not use."""
    if match := _TOO_OPEN.search(stderr):
        return f"chmod 600 {shell.join([match[1]])}"
    locked = [key for key in link.usable_identities(resolved) if "passphrase" in link.reason_in_key(key)]
    return f"ssh-add {shell.join([str(locked[0])])}" if locked else "ssh-add, or IdentityFile"


def _control_folder(ctx: Context) -> Path:
    """Returns the folder of the sockets, the same for every command: in /tmp unless that cannot be used.

    Its path is short, since that of a socket has at most 104 bytes.
    """
    folders = [Path(_FOLDER), ctx.state_dir / "ssh"]
    if runtime := ctx.env.get("XDG_RUNTIME_DIR"):
        folders.insert(1, Path(runtime) / "gpujob-ssh")
    with contextlib.suppress(OSError):
        files.ensure_private(ctx.state_dir)
    why = ""
    for folder in folders:
        if len(os.fsencode(folder)) > _LONGEST_FOLDER:
            continue
        if not (reason := _reason_not_to_use(folder)):
            return folder
        why = why or reason
    what = "there is no folder for the connections of ssh"
    raise GpujobError(what, why, "export XDG_RUNTIME_DIR=… (a folder of yours, with a short path)")


def _reason_not_to_use(folder: Path) -> str:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        return f"{folder}: {error.strerror}"
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        return f"{folder} is not a folder of this user alone"
    return "" if os.access(folder, os.W_OK) else f"{folder} cannot be written to"
