"""TARGET → how to get there: the user's ssh_config is read by asking OpenSSH (`ssh -G`)."""

from __future__ import annotations

import base64
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.context import Context
from orchestrator.errors import GpujobError, UsageError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\Z")


@dataclass(frozen=True)
class Typed:
    """What the user typed after --on, taken apart. `name` may be one of ~/.ssh/config.

    `options`: more words for ssh itself.
    """

    label: str
    name: str
    user: str | None = None
    port: int | None = None
    options: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """Arguments for ssh: options, then the destination last."""
        port = ["-p", str(self.port)] if self.port else []
        return [*self.options, *port, f"{self.user}@{self.name}" if self.user else self.name]


@dataclass(frozen=True)
class Resolved:
    """What OpenSSH makes of it. `key_name` is the name under which known_hosts keeps its key."""

    typed: Typed
    hostname: str
    user: str
    port: int
    key_name: str
    identities: tuple[str, ...]
    known_hosts: tuple[str, ...]
    agent: str | None
    asks_for: tuple[str, ...]


def parse(word: str) -> Typed:
    """`ssh://user@host:port`, or a name of ~/.ssh/config. UsageError for anything else."""
    if not word.startswith("ssh://"):
        if not _NAME.match(word):
            raise UsageError(f"{word!r} is no target", "a name of ~/.ssh/config, or ssh://user@host:port")
        return Typed(word, word)
    try:
        parts = urlsplit(word)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{word!r} is no target", str(error), "--on ssh://user@host:port") from None
    host, user = parts.hostname or "", parts.username
    plain = _NAME.match(host) or re.match(r"[0-9a-f:]+\Z", host)
    if not plain or parts.path not in ("", "/") or parts.password or (user and not _USER.match(user)):
        raise UsageError(f"{word!r} is no target", "", "--on ssh://user@host:port")
    return Typed(word, host, user, port)


def config_words(ctx: Context) -> list[str]:
    """`-F FILE` where GPUJOB_SSH_CONFIG names one; else ssh reads what it always reads."""
    named = ctx.env.get("GPUJOB_SSH_CONFIG")
    return ["-F", named] if named else []


def resolve(ctx: Context, typed: Typed) -> Resolved:
    """Asks `ssh -G`. GpujobError where OpenSSH is not installed or refuses its configuration."""
    try:
        done = subprocess.run(
            ["ssh", "-G", *config_words(ctx), *typed.words()],
            env=dict(ctx.env),
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )
    except FileNotFoundError:
        raise GpujobError("ssh is not installed here", "", "install openssh-client") from None
    if done.returncode:
        raise UsageError(f"ssh does not accept {typed.label}", done.stderr.strip().splitlines()[-1])
    return understand(typed, done.stdout, ctx.env.get("HOME", ""), ctx.env.get("SSH_AUTH_SOCK"))


def understand(typed: Typed, said: str, home: str, socket: str | None) -> Resolved:
    """The answer of `ssh -G` → Resolved. Pure."""
    values: dict[str, list[str]] = {}
    for line in said.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key.lower(), []).append(value)
    one = {key: found[0] for key, found in values.items()}
    files = " ".join(values.get("userknownhostsfile", []) + values.get("globalknownhostsfile", []))
    return Resolved(
        typed,
        hostname=one["hostname"],
        user=one["user"],
        port=int(one["port"]),
        key_name=one.get("hostkeyalias") or _key_name(one["hostname"], int(one["port"])),
        identities=tuple(_home(path, home) for path in values.get("identityfile", [])),
        known_hosts=tuple(_home(path, home) for path in files.split() if path != "/dev/null"),
        agent=_agent(one.get("identityagent", "SSH_AUTH_SOCK"), socket),
        asks_for=tuple(_asks_for(one, socket)),
    )


def _key_name(hostname: str, port: int) -> str:
    return hostname if port == 22 else f"[{hostname}]:{port}"


def _asks_for(one: dict[str, str], socket: str | None) -> list[str]:
    """What paramiko cannot do, by the name of its option: then the OpenSSH binary goes there."""
    found = [
        key for key in ("proxyjump", "proxycommand", "certificatefile") if one.get(key, "none") != "none"
    ]
    agent = one.get("identityagent", "SSH_AUTH_SOCK")
    if agent not in ("SSH_AUTH_SOCK", "none", socket):
        found.append("identityagent")
    if one.get("gssapiauthentication") == "yes":
        found.append("gssapiauthentication")
    if one.get("pkcs11provider", "none") != "none":
        found.append("pkcs11provider")
    return found


def _agent(named: str, socket: str | None) -> str | None:
    return None if named == "none" else socket


def _home(path: str, home: str) -> str:
    return home + path[1:] if path.startswith("~/") else path


def usable_identities(resolved: Resolved) -> list[Path]:
    """Identity files that exist; OpenSSH skips the others too."""
    return [Path(path) for path in resolved.identities if Path(path).is_file()]


def wants_passphrase(resolved: Resolved) -> bool:
    """Whether a key is encrypted and no agent may hold it: then OpenSSH asks, once, on the terminal."""
    if resolved.agent:
        return False
    return any(_encrypted(path.read_bytes()) for path in usable_identities(resolved))


def _encrypted(key: bytes) -> bool:
    """Of an OpenSSH key the cipher's name stands in its clear header; of a PEM one the word itself."""
    if b"ENCRYPTED" in key:
        return True
    lines = key.splitlines()
    if not lines or b"BEGIN OPENSSH PRIVATE KEY" not in lines[0]:
        return False
    head = base64.b64decode(b"".join(lines[1:3]) + b"==", validate=False)
    return b"none" not in head[:40]
