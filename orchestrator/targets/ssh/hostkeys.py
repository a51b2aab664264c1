"""Who a host is: our own known_hosts beside the user's. Unknown or changed is refused."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator import lock, textfile
from orchestrator.context import Context
from orchestrator.errors import AccessError
from orchestrator.targets.ssh.address import Resolved, config_words


@dataclass(frozen=True)
class HostKey:
    """Algorithm and base64, as in known_hosts."""

    kind: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """As OpenSSH prints it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def own_file(ctx: Context) -> Path:
    """Ours; not a cache, so it lies with the settings."""
    return ctx.config_file.with_name("known_hosts")


def files(ctx: Context, resolved: Resolved) -> list[str]:
    """All files that are asked, ours first."""
    return [str(own_file(ctx)), *resolved.known_hosts]


def known(ctx: Context, resolved: Resolved) -> list[HostKey]:
    """Every key that is on record for this host. Hashed names are found too (ssh-keygen -F)."""
    found = []
    for file in files(ctx, resolved):
        if not Path(file).is_file():
            continue
        words = ["ssh-keygen", "-F", resolved.key_name, "-f", file]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        found += [key for line in done.stdout.splitlines() if (key := _entry(line))]
    return found


def _entry(line: str) -> HostKey | None:
    """A plain line of known_hosts; comments, @cert-authority and @revoked are none."""
    parts = line.split()
    return HostKey(parts[1], parts[2]) if len(parts) >= 3 and line[0] not in "#@" else None


def record(ctx: Context, resolved: Resolved, key: HostKey) -> None:
    """Puts a key on record, in place of any that was there for this host."""
    _change(ctx, lambda held: [*_without(held, resolved.key_name), _line(resolved, key)])


def add(ctx: Context, resolved: Resolved, key: HostKey) -> None:
    """Puts a key on record beside the ones that are there for this host."""
    _change(ctx, lambda held: [*held, _line(resolved, key)])


def forget(ctx: Context, key_name: str) -> None:
    """Takes a host that is no more off our record."""
    _change(ctx, lambda held: _without(held, key_name))


def lines(ctx: Context) -> list[str]:
    """Of our own record."""
    file = own_file(ctx)
    return textfile.read(file, str(file)).splitlines() if file.exists() else []


def _line(resolved: Resolved, key: HostKey) -> str:
    return f"{resolved.key_name} {key.kind} {key.blob}"


def _without(held: list[str], key_name: str) -> list[str]:
    return [line for line in held if line.split()[:1] != [key_name]]


def _change(ctx: Context, change: Callable[[list[str]], list[str]]) -> None:
    """One at a time, from reading to writing: clients that launch boxes side by side all keep their keys."""
    file = own_file(ctx)
    with lock.held(file.with_suffix(".lock")):
        _replace(file, change(lines(ctx)))


def _replace(file: Path, held: list[str]) -> None:
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text("".join(f"{line}\n" for line in held), "utf-8")
    temporary.replace(file)


def offered(ctx: Context, resolved: Resolved) -> HostKey | None:
    """The key that the host shows now, by the way that ssh would take; None where it shows none."""
    ctx.state_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ctx.state_dir, prefix="offered-") as scratch:
        return _offered(ctx, resolved, Path(scratch) / "known_hosts")


def _offered(ctx: Context, resolved: Resolved, seen: Path) -> HostKey | None:
    accept = ["-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={seen}"]
    # -o given first wins; no authentication is tried, so nothing of the user is shown to the host.
    words = ["ssh", *config_words(ctx), *accept, "-o", "GlobalKnownHostsFile=/dev/null"]
    words += ["-o", "PreferredAuthentications=none", "-o", "BatchMode=yes", "-o", "HashKnownHosts=no"]
    words += ["-o", "ConnectTimeout=10", *resolved.typed.words(), "true"]
    subprocess.run(words, env=dict(ctx.env), capture_output=True, check=False)
    lines = seen.read_text("utf-8").splitlines() if seen.exists() else []
    entries = [key for line in lines if (key := _entry(line))]
    return entries[0] if entries else None


def strict_options(ctx: Context, resolved: Resolved) -> list[str]:
    """Options that hold the ssh binary to the same files, and to refusing what they do not know."""
    quoted = " ".join(f'"{file}"' for file in files(ctx, resolved))
    return [
        *("-o", f"UserKnownHostsFile={quoted}"),
        *("-o", "StrictHostKeyChecking=yes"),
        *("-o", "UpdateHostKeys=no"),
        *("-o", "ConnectTimeout=10"),
        *("-o", "ServerAliveInterval=5"),
        *("-o", "ServerAliveCountMax=3"),
        *("-o", "LogLevel=ERROR"),
    ]


class Stranger(AccessError):
    """The host is not the one on record, or is not on record."""


def refuse(resolved: Resolved, key: HostKey | None, on_record: list[HostKey]) -> Stranger:
    """Unknown, or another key than on record: exit 4 with the fingerprint and what records it."""
    label = resolved.typed.label
    shown = key.fingerprint if key else "a key that is not on record"
    command = f"gpujob hosts attach {label} --fingerprint {key.fingerprint}" if key else "gpujob doctor"
    if on_record:
        before = ", ".join(sorted({k.fingerprint for k in on_record}))
        why = f"on record: {before}; now: {shown}. It was reinstalled, or another machine answers"
        return Stranger(f"the host key of {label} has changed", why, f"if you know why: {command}")
    return Stranger(f"the host key of {label} is not known", f"it shows {shown}", f"if that is it: {command}")
