"""Connects with fabric (over paramiko), with corrections for faults that were measured.

By default fabric accepts any host key, paramiko leaves Nagle's algorithm on (44 ms per request), its
keep-alives never detect a dead connection, and an unread stderr of 2 MiB blocks a command for ever.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import socket
import threading
from pathlib import Path
from typing import Any

import fabric
import paramiko

from orchestrator.context import Context
from orchestrator.errors import AccessError, Unreachable
from orchestrator.process import Done
from orchestrator.targets import pipes
from orchestrator.targets.ssh import hostkeys
from orchestrator.targets.ssh.address import Resolved, doctor
from orchestrator.targets.ssh.link import NeedsOpenSSH, usable_identities

_CONNECT_SECONDS = 10
_IDLE = 1.0  # seconds between two looks of a connection on which nothing comes; 0.1 by paramiko
_ERRORS = (paramiko.SSHException, OSError, EOFError)
_KINDS = {  # the names of algorithms: in paramiko's `disabled_algorithms`, on its Transport, of ssh_config
    "ciphers": ("_preferred_ciphers", "ciphers"),
    "macs": ("_preferred_macs", "macs"),
    "kex": ("_preferred_kex", "kexalgorithms"),
    "keys": ("_preferred_keys", "hostkeyalgorithms"),
    "pubkeys": ("_preferred_pubkeys", "pubkeyacceptedalgorithms"),
}


class _Refuse(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:
        raise NeedsOpenSSH("the host key is not one that paramiko knows")


class _OneKey:
    """Authenticates with one key, in one attempt."""

    def __init__(self, resolved: Resolved, may_prompt: bool) -> None:
        self._resolved = resolved
        usable = usable_identities(resolved)
        if len(usable) != 1:
            raise NeedsOpenSSH("the key files have changed")
        self._path = usable[0]
        self._may_prompt = may_prompt

    def authenticate(self, transport: paramiko.Transport) -> None:
        """Raises NeedsOpenSSH if the host wants more than the key, AccessError if it refuses the key."""
        try:
            more = transport.auth_publickey(self._resolved.user, paramiko.PKey.from_path(self._path))
        except paramiko.BadAuthenticationType as error:
            raise NeedsOpenSSH(f"the host asks for {', '.join(error.allowed_types)}", True) from None
        except paramiko.AuthenticationException as error:
            if "timeout" in str(error).lower() or "saw EOF" in str(error):
                raise  # a broken connection, or too many attempts: OpenSSH reports which
            if self._may_prompt:
                raise NeedsOpenSSH("the host refuses the key; OpenSSH asks for a password") from None
            raise _denied(self._resolved, self._path, str(error)) from None
        if more:
            raise NeedsOpenSSH("the host asks for several authentication steps", True)


class ParamikoLink:
    """Starts commands on one connection, which is made when first needed."""

    def __init__(self, ctx: Context, resolved: Resolved) -> None:
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        self._ctx = ctx
        self._resolved = resolved
        self._connection: fabric.Connection | None = None

    def open(self, command: str) -> ChannelPipe:
        """Starts a command. Raises NeedsOpenSSH if OpenSSH is to try instead."""
        try:
            transport = self._connected().transport
            channel = transport.open_session(timeout=pipes.TIMEOUT)
            channel.settimeout(pipes.TIMEOUT)
            channel.exec_command(command)
        except paramiko.ChannelException:
            self.drop()
            raise NeedsOpenSSH("the host allows too few sessions on one connection", True) from None
        except _ERRORS as error:
            self.drop()
            raise _unreachable(self._resolved, error) from None
        return ChannelPipe(channel)

    def answers(self) -> bool:
        """Returns whether the host still answers: it has to accept or refuse another session."""
        try:
            self._connected().transport.open_session(timeout=pipes.TIMEOUT).close()
        except paramiko.ChannelException:
            return True
        except _ERRORS:
            return False
        return True

    def drop(self) -> None:
        if self._connection:
            with contextlib.suppress(*_ERRORS):
                self._connection.close()
            self._connection = None

    close = drop

    def _connected(self) -> fabric.Connection:
        if self._connection is None or not self._connection.is_connected:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> fabric.Connection:
        """Connects, or raises NeedsOpenSSH where only OpenSSH can tell whether and why it is impossible."""
        recorded = hostkeys.plain_keys(hostkeys.known_lines(self._ctx, self._resolved))
        if recorded is None:
            raise NeedsOpenSSH("known_hosts has a marked line about the host", True)
        connection = self._prepared(recorded)
        try:
            connection.open()
        except paramiko.ssh_exception.IncompatiblePeer as error:
            raise NeedsOpenSSH(f"paramiko cannot negotiate with the host: {error}", True) from None
        except (paramiko.SSHException, ValueError, TypeError) as error:
            raise NeedsOpenSSH(f"paramiko cannot connect: {error}") from None
        _harden(connection)
        return connection

    def _prepared(self, recorded: list[hostkeys.HostKey]) -> fabric.Connection:
        to = self._resolved
        config = fabric.Config(lazy=True, overrides={"load_ssh_configs": False})
        timeout = to.connect_timeout or _CONNECT_SECONDS
        may_prompt = self._ctx.stdin.isatty() and not self._ctx.json
        connection = fabric.Connection(
            to.hostname,
            user=to.user,
            port=to.port,
            config=config,
            connect_timeout=timeout,
            connect_kwargs={
                "auth_strategy": _OneKey(to, may_prompt),
                "disabled_algorithms": _disallowed(to),
                "banner_timeout": timeout,
                "auth_timeout": pipes.TIMEOUT,
            },
        )
        name = to.hostname if to.port == 22 else f"[{to.hostname}]:{to.port}"
        for key in recorded:
            with contextlib.suppress(*_ERRORS, ValueError):
                parsed = paramiko.PKey.from_type_string(key.kind, base64.b64decode(key.blob))
                connection.client.get_host_keys().add(name, key.kind, parsed)
        connection.client.set_missing_host_key_policy(_Refuse())
        return connection


class ChannelPipe:
    """A running command on a channel of the connection."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._errors: list[bytes] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def wait(self, seconds: float) -> bool:
        has_output = threading.Event()
        self._channel.in_buffer.set_event(has_output)
        return has_output.wait(seconds)

    def write(self, data: bytes) -> None:
        try:
            self._channel.sendall(data)
        except _ERRORS as error:
            raise Unreachable("the connection broke", str(error)) from None

    def end_input(self) -> None:
        with contextlib.suppress(*_ERRORS):
            self._channel.shutdown_write()

    def receive(self) -> bytes:
        try:
            block: bytes = self._channel.recv(1 << 18)
            return block
        except TimeoutError:
            raise Unreachable(
                "the host stopped answering", f"nothing came for {pipes.TIMEOUT:.0f} s"
            ) from None
        except _ERRORS as error:
            raise Unreachable("the connection broke", str(error)) from None

    def finish(self) -> Done:
        self._channel.status_event.wait(pipes.TIMEOUT)
        self._reader.join(pipes.TIMEOUT)
        return Done.of(self._channel.exit_status, self._errors)

    def close(self) -> None:
        with contextlib.suppress(*_ERRORS):
            self._channel.close()

    def _read_errors(self) -> None:
        with contextlib.suppress(*_ERRORS):
            while block := self._stderr():
                self._errors.append(block)

    def _stderr(self) -> bytes:
        while True:
            try:
                block: bytes = self._channel.recv_stderr(1 << 16)
                return block
            except TimeoutError:
                if self._channel.closed:
                    return b""


def _harden(connection: fabric.Connection) -> None:
    transport = connection.transport
    with contextlib.suppress(OSError, AttributeError):
        transport.sock.settimeout(_IDLE)
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(pipes.TIMEOUT * 1000))
    transport.set_keepalive(5)


def _disallowed(resolved: Resolved) -> dict[str, list[str]]:
    """Returns the algorithms of paramiko that the user's configuration does not allow."""
    allowed = {kind: resolved.algorithms.get(option) for kind, (_, option) in _KINDS.items()}
    return {
        kind: [name for name in getattr(paramiko.Transport, _KINDS[kind][0]) if name not in names]
        for kind, names in allowed.items()
        if names
    }


def _denied(resolved: Resolved, key: Path, message: str) -> AccessError:
    return AccessError(
        f"{resolved.typed.label} accepts no key of {resolved.user}",
        f"tried: {key} ({message})",
        "ssh-add, or IdentityFile",
    )


def _unreachable(resolved: Resolved, error: Exception) -> Unreachable:
    why = str(error) or type(error).__name__
    label = resolved.typed.label
    return Unreachable(f"{label} cannot be reached", why, doctor(label))
