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
from typing import Any

import fabric
import paramiko

from orchestrator.context import Context
from orchestrator.errors import AccessError, Unreachable
from orchestrator.process import Done
from orchestrator.targets.ssh import hostkeys
from orchestrator.targets.ssh.address import Resolved, usable_identities

TIMEOUT = 15.0  # seconds without a byte; a host sends a heartbeat every 2
_LOGIN_ATTEMPTS = 3  # after so many interrupted logins, the host counts as refusing access
_ERRORS = (paramiko.SSHException, OSError, EOFError)


class _Interrupted(Exception):
    """The connection ended during the authentication."""


class _UnknownKey(paramiko.SSHException):  # type: ignore[misc]
    def __init__(self, key: paramiko.PKey) -> None:
        super().__init__("unknown host key")
        self.key = key


class _Refuse(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:
        raise _UnknownKey(key)


class ParamikoLink:
    """Starts commands on one connection, which is made when first needed."""

    def __init__(self, ctx: Context, resolved: Resolved) -> None:
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        self._ctx = ctx
        self._resolved = resolved
        self._connection: fabric.Connection | None = None

    def open(self, command: str) -> ChannelPipe:
        try:
            transport = self._connected().transport
            channel = transport.open_session(timeout=TIMEOUT)
            channel.settimeout(TIMEOUT)
            channel.exec_command(command)
        except _ERRORS as error:
            self.drop()
            raise _unreachable(self._resolved, error) from None
        return ChannelPipe(channel)

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
        """Connects, with retries: an interrupted login looks the same as a refused one."""
        recorded = hostkeys.known(self._ctx, self._resolved)
        why = ""
        for _ in range(_LOGIN_ATTEMPTS):
            try:
                return self._connect_once(recorded)
            except _Interrupted as error:
                why = str(error)
        raise _denied(self._resolved, why)

    def _connect_once(self, recorded: list[hostkeys.HostKey]) -> fabric.Connection:
        connection = self._prepared(recorded)
        try:
            connection.open()
        except _UnknownKey as error:
            raise hostkeys.refuse(self._resolved, _host_key(error.key), []) from None
        except paramiko.BadHostKeyException as error:
            raise hostkeys.refuse(self._resolved, _host_key(error.key), recorded) from None
        except (paramiko.AuthenticationException, paramiko.PasswordRequiredException) as error:
            if "timeout" in str(error):
                raise _unreachable(self._resolved, error) from None
            if "saw EOF" in str(error):
                raise _Interrupted(str(error)) from None
            raise _denied(self._resolved, str(error)) from None
        _harden(connection)
        return connection

    def _prepared(self, recorded: list[hostkeys.HostKey]) -> fabric.Connection:
        to = self._resolved
        config = fabric.Config(lazy=True, overrides={"load_ssh_configs": False})
        connection = fabric.Connection(
            to.hostname,
            user=to.user,
            port=to.port,
            config=config,
            connect_timeout=10,
            connect_kwargs={
                "key_filename": [str(path) for path in usable_identities(to)],
                "allow_agent": to.agent is not None,
                "look_for_keys": False,
                "banner_timeout": 10,
                "auth_timeout": TIMEOUT,
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
            raise Unreachable("the host stopped answering", f"nothing came for {TIMEOUT:.0f} s") from None
        except _ERRORS as error:
            raise Unreachable("the connection broke", str(error)) from None

    def finish(self) -> Done:
        self._channel.status_event.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
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
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(TIMEOUT * 1000))
    transport.set_keepalive(5)


def _host_key(key: paramiko.PKey) -> hostkeys.HostKey:
    return hostkeys.HostKey(key.get_name(), key.get_base64())


def _denied(resolved: Resolved, message: str) -> AccessError:
    tried = [str(path) for path in usable_identities(resolved)] + (["the agent"] if resolved.agent else [])
    why = f"tried: {', '.join(tried) or 'nothing: no key file, no agent'} ({message})"
    return AccessError(
        f"{resolved.typed.label} accepts no key of {resolved.user}", why, "ssh-add, or IdentityFile"
    )


def _unreachable(resolved: Resolved, error: Exception) -> Unreachable:
    why = str(error) or type(error).__name__
    return Unreachable(
        f"{resolved.typed.label} cannot be reached", why, "gpujob doctor --on " + resolved.typed.label
    )
