"""Checks host keys with gpujob's own known_hosts and the user's. An unknown or a changed key is refused."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from orchestrator import files, process
from orchestrator.context import Context
from orchestrator.core import shell
from orchestrator.errors import AccessError
from orchestrator.targets.ssh.address import Resolved, config_words


class HostKey(msgspec.Struct, frozen=True):
    """A public host key: algorithm and base64, as in known_hosts."""

    kind: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """The fingerprint as OpenSSH prints it, SHA256:…."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def own_file(ctx: Context) -> Path:
    """Returns the path of gpujob's known_hosts. It is next to the settings, since it is no cache."""
    return ctx.config_file.with_name("known_hosts")


def known_hosts_files(ctx: Context, resolved: Resolved) -> list[str]:
    """Returns the paths of all files in which a host key may be recorded, gpujob's own first."""
    return [str(own_file(ctx)), *resolved.known_hosts]


def known(ctx: Context, resolved: Resolved) -> list[HostKey]:
    """Returns every recorded key of this host."""
    return _keys(known_lines(ctx, resolved))


def known_lines(ctx: Context, resolved: Resolved) -> list[str]:
    """Returns the lines about this host in all files. ssh-keygen -F finds hashed names and patterns too."""
    lines: list[str] = []
    for file in known_hosts_files(ctx, resolved):
        if Path(file).is_file():
            done = process.capture(["ssh-keygen", "-F", resolved.key_name, "-f", file])
            lines += done.out.decode("utf-8", errors="replace").splitlines()
    return lines


def plain_keys(lines: list[str]) -> list[HostKey] | None:
    """Returns the keys in lines of known_hosts; None if one is marked @cert-authority or @revoked."""
    return None if any(line.startswith("@") for line in lines) else _keys(lines)


def _keys(lines: list[str]) -> list[HostKey]:
    """Parses the plain lines of a known_hosts file; skips comments, @cert-authority and @revoked."""
    parts = [line.split() for line in lines if line[:1] not in ("#", "@")]
    return [HostKey(part[1], part[2]) for part in parts if len(part) >= 3]


def record(ctx: Context, resolved: Resolved, key: HostKey) -> None:
    """Records a key in gpujob's known_hosts, replacing any other key of this host."""
    _change(ctx, lambda lines: [*_without(lines, resolved.key_name), _line(resolved, key)])


def add(ctx: Context, resolved: Resolved, key: HostKey) -> None:
    """Records a key in gpujob's known_hosts, in addition to the other keys of this host."""
    _change(ctx, lambda lines: [*lines, _line(resolved, key)])


def forget(ctx: Context, key_name: str) -> None:
    """Removes the keys of a host that no longer exists from gpujob's known_hosts."""
    _change(ctx, lambda lines: _without(lines, key_name))


def own_lines(ctx: Context) -> list[str]:
    """Returns the lines of gpujob's own known_hosts."""
    file = own_file(ctx)
    return files.read_text(file, str(file)).splitlines() if file.exists() else []


def _line(resolved: Resolved, key: HostKey) -> str:
    return f"{resolved.key_name} {key.kind} {key.blob}"


def _without(lines: list[str], key_name: str) -> list[str]:
    return [line for line in lines if line.split()[:1] != [key_name]]


def _change(ctx: Context, change: Callable[[list[str]], list[str]]) -> None:
    """Rewrites gpujob's known_hosts under a lock, so that simultaneous launches keep each other's keys."""
    file = own_file(ctx)
    with files.lock(file.with_suffix(".lock")):
        files.write(file, "".join(f"{line}\n" for line in change(own_lines(ctx))).encode())


def offered(ctx: Context, resolved: Resolved) -> HostKey | None:
    """Returns the key that the host presents now, connecting as ssh does; None if it presents none."""
    files.ensure_private(ctx.state_dir)
    with tempfile.TemporaryDirectory(dir=ctx.state_dir, prefix="offered-") as folder:
        file = Path(folder) / "known_hosts"
        accept = ["-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={file}"]
        # ssh uses the first -o of a name. Without authentication no key of the user is offered.
        words = ["ssh", *config_words(ctx), *accept, "-o", "GlobalKnownHostsFile=/dev/null"]
        words += ["-o", "PreferredAuthentications=none", "-o", "BatchMode=yes", "-o", "HashKnownHosts=no"]
        words += ["-o", "ConnectTimeout=10", "-o", "ControlPath=none"]
        words += [word for setting in resolved.neutral for word in ("-o", setting)]
        words += [*resolved.typed.words(), "true"]
        process.capture(words, env=ctx.env)
        keys = _keys(file.read_text("utf-8").splitlines()) if file.exists() else []
    return keys[0] if keys else None


def strict_settings(ctx: Context, resolved: Resolved) -> list[str]:
    """Returns settings for the ssh binary to read the same known_hosts and refuse any other key."""
    quoted = " ".join(f'"{file}"' for file in known_hosts_files(ctx, resolved))
    return [f"UserKnownHostsFile={quoted}", "StrictHostKeyChecking=yes", "UpdateHostKeys=no"]


class UnknownHostKey(AccessError):
    """The key that the host presents is not recorded, or differs from the recorded one."""


def refuse(resolved: Resolved, key: HostKey | None, recorded: list[HostKey]) -> UnknownHostKey:
    """Returns the error (exit code 4) with the key's fingerprint and the command that records it."""
    label = resolved.typed.label
    shown = key.fingerprint if key else "a key that is not recorded"
    words = ["gpujob", "hosts", "attach", label, "--fingerprint", key.fingerprint] if key else []
    command = shell.join(words or ["gpujob", "doctor"])
    if recorded:
        before = ", ".join(sorted({k.fingerprint for k in recorded}))
        why = f"recorded: {before}; now: {shown}. It was reinstalled, or another machine answers"
        return UnknownHostKey(
            f"the host key of {label} has changed", why, f"if you know the reason: {command}"
        )
    return UnknownHostKey(
        f"the host key of {label} is not known", f"it presents {shown}", f"if that is right: {command}"
    )
