"""Resolves a target to an SSH address. OpenSSH itself (`ssh -G`) evaluates the user's ssh_config."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

import msgspec

from orchestrator import process
from orchestrator.context import Context
from orchestrator.core import shell
from orchestrator.core.sshconfig import host_names
from orchestrator.core.text import closest
from orchestrator.errors import GpujobError, UsageError
from orchestrator.store import Store

_LONGEST_CONFIG = 1 << 20  # bytes of ssh_config that are read for its host names
# What OpenSSH itself refuses in both since 9.6, since ProxyCommand and Match exec put them into a shell; the
# characters that end a host or a user in an argument of ssh or rsync; and patterns of known_hosts.
_NOT_PLAIN = r"\s\0-\x1f\x7f'`\"$;&<>|(){}/:,!*?\[\]#"
_HOST = re.compile(rf"(?!-)[^{_NOT_PLAIN}\\@%]+\Z")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9_.-]+)?\Z")
_USER = re.compile(rf"(?!-)[^{_NOT_PLAIN}]+(?<!\\)\Z")


class Typed(msgspec.Struct, frozen=True):
    """The parts of a target that the user typed. `name`: a host name, or a host of ~/.ssh/config.

    `options`: additional arguments for ssh.
    """

    label: str
    name: str
    user: str | None = None
    port: int | None = None
    options: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """Returns the arguments for ssh: options, then the destination."""
        port = [] if self.port is None else ["-p", str(self.port)]
        return [*self.options, *port, f"{self.user}@{self.name}" if self.user else self.name]


class Resolved(msgspec.Struct, frozen=True):
    """The address that OpenSSH resolves a target to. `key_name`: the host's name in known_hosts.

    `agent`: the socket of the ssh agent, or None. `unsupported`: the options that paramiko does not support.
    `algorithms`: those that the configuration allows, by the name of the option. `connect_timeout`: in
    seconds; None: not set. `has_control_path`: the user's own connections may be shared. `neutral`: settings
    that undo what the configuration adds to a session, such as RemoteCommand.
    """

    typed: Typed
    hostname: str
    user: str
    port: int
    key_name: str
    identities: tuple[str, ...]
    known_hosts: tuple[str, ...]
    agent: str | None
    unsupported: tuple[str, ...]
    algorithms: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    connect_timeout: int | None = None
    has_control_path: bool = False
    neutral: tuple[str, ...] = ()


def parse(word: str) -> Typed:
    """Parses `user@host`, `ssh://user@host:port` or a host of ~/.ssh/config; UsageError for other text.

    User and host may be what OpenSSH takes, such as `DOMAIN\\user` and `fe80::1%eth0`. In a URL, both may
    have characters in hexadecimal.
    """
    is_url = word.startswith("ssh://")
    user, at, address = word.removeprefix("ssh://").rpartition("@")
    host, port = _split(address.removesuffix("/") if is_url else address)
    if is_url:
        user, host = unquote(user), unquote(host)
    plain = (_HOST.match(host) or _IPV6.match(host)) and (_USER.match(user) or not at)
    if not plain or (port and not _is_port(port)):
        raise UsageError(f"{word!r} is not a target", "", "a name of ~/.ssh/config, or ssh://user@host:port")
    return Typed(word, host, user or None, int(port) if port else None)


def _split(address: str) -> tuple[str, str]:
    """Returns host and port, which may be missing; an IPv6 address with a port is in brackets."""
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        return (host, rest[1:]) if bracket and rest[:1] in ("", ":") else ("", "")
    if address.count(":") > 1:
        return address, ""
    host, _, port = address.partition(":")
    return host, port


def doctor(label: str) -> str:
    """Returns the command that examines a host, quoted for a shell."""
    return shell.join(["gpujob", "doctor", "--on", label])


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16


def config_words(ctx: Context) -> list[str]:
    """Returns `-F FILE` if GPUJOB_SSH_CONFIG names a file; else nothing, and ssh reads its usual files."""
    named = ctx.env.get("GPUJOB_SSH_CONFIG")
    return ["-F", named] if named else []


def resolve(ctx: Context, typed: Typed) -> Resolved:
    """Runs `ssh -G` and returns the address.

    GpujobError if ssh is not installed or rejects its configuration.
    """
    words, prefix = [*config_words(ctx), *typed.words()], ""
    try:
        done = process.capture(["ssh", "-G", *words], env=ctx.env)
        if done.code:  # as with ForkAfterAuthentication, which ssh refuses without a command
            unforked = process.capture(["ssh", "-G", "-o", "ForkAfterAuthentication=no", *words], env=ctx.env)
            if not unforked.code:
                done, prefix = unforked, "forkafterauthentication yes\n"
    except FileNotFoundError:
        raise GpujobError("ssh is not installed on this machine", "", "install openssh-client") from None
    if done.code:
        raise UsageError(f"ssh does not accept {typed.label}", done.reason)
    config = prefix + done.out.decode("utf-8", "surrogateescape")
    return parse_config(typed, config, ctx.env.get("HOME", ""), ctx.env.get("SSH_AUTH_SOCK"))


def parse_config(typed: Typed, config: str, home: str, socket: str | None) -> Resolved:
    """Parses the output of `ssh -G`. `home` replaces `~`; `socket` is SSH_AUTH_SOCK. No side effects."""
    values: dict[str, list[str]] = {}
    for line in config.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key.lower(), []).append(value)
    first = {key: settings[0] for key, settings in values.items()}
    files = _paths(values.get("userknownhostsfile", []) + values.get("globalknownhostsfile", []))
    return Resolved(
        typed,
        hostname=first["hostname"],
        user=first["user"],
        port=int(first["port"]),
        key_name=first.get("hostkeyalias") or _key_name(first["hostname"], int(first["port"])),
        identities=tuple(_expand(path, home) for path in values.get("identityfile", [])),
        known_hosts=tuple(_expand(path, home) for path in files if path != "/dev/null"),
        agent=_agent(first.get("identityagent", "SSH_AUTH_SOCK"), socket),
        unsupported=tuple(_unsupported(first, socket)),
        algorithms={key: tuple(first[key].split(",")) for key in ALGORITHMS if key in first},
        connect_timeout=int(timeout) if (timeout := first.get("connecttimeout", "none")).isdigit() else None,
        has_control_path=first.get("controlpath", "none") != "none",
        neutral=tuple(_neutral(first)),
    )


def _paths(lists: list[str]) -> list[str]:
    """Returns the paths that `ssh -G` lists without quotes: one with spaces ends where another begins."""
    return [path for text in lists for path in re.split(r" +(?=[/~%]|none\b)", text.strip()) if path]


ALGORITHMS = ("ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms")
_UNSUPPORTED = {  # options that paramiko does not support, and the values that need no support
    **dict.fromkeys(("proxyjump", "proxycommand", "certificatefile", "pkcs11provider"), ("none",)),
    **dict.fromkeys(("knownhostscommand", "revokedhostkeys", "bindaddress", "bindinterface"), ("none",)),
    **dict.fromkeys(("gssapiauthentication", "hostbasedauthentication"), ("no",)),
    "verifyhostkeydns": ("no", "false"),
    "pubkeyauthentication": ("yes", "true"),
    "preferredauthentications": (),
    "addressfamily": ("any",),
}
_NEUTRAL = {  # options of a session: what the configuration may set, and what a request of gpujob needs
    "remotecommand": ("RemoteCommand", "none"),
    "requesttty": ("RequestTTY", "no"),
    "sessiontype": ("SessionType", "default"),
    "stdinnull": ("StdinNull", "no"),
    "forkafterauthentication": ("ForkAfterAuthentication", "no"),
    "permitlocalcommand": ("PermitLocalCommand", "no"),
    "exitonforwardfailure": ("ExitOnForwardFailure", "no"),
    "forwardx11": ("ForwardX11", "no"),
    "forwardagent": ("ForwardAgent", "no"),
    "tunnel": ("Tunnel", "no"),
    "clearallforwardings": ("ClearAllForwardings", "yes"),
}


def _key_name(hostname: str, port: int) -> str:
    return hostname if port == 22 else f"[{hostname}]:{port}"


def _unsupported(first: dict[str, str], socket: str | None) -> list[str]:
    """Returns the options that paramiko does not support; with any of them the OpenSSH binary is used."""
    options = [key for key, plain in _UNSUPPORTED.items() if key in first and first[key] not in plain]
    agent = first.get("identityagent", "SSH_AUTH_SOCK")
    if agent not in ("SSH_AUTH_SOCK", "none", socket):
        options.append("identityagent")
    return options


def _neutral(first: dict[str, str]) -> list[str]:
    """Returns a setting for each option that this version of ssh has printed, and so knows."""
    return [f"{name}={value}" for key, (name, value) in _NEUTRAL.items() if first.get(key, value) != value]


def _agent(named: str, socket: str | None) -> str | None:
    return None if named == "none" else socket


def _expand(path: str, home: str) -> str:
    return home + path[1:] if path.startswith("~/") else path


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
        text = config.read(_LONGEST_CONFIG).decode("utf-8", "replace")
    return ["local", "ec2", *Store(ctx.state_dir).targets(), *host_names(text)]


def _resolves(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None))
    except (OSError, UnicodeError):
        return False
