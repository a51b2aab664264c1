"""Connections between the supervisors of a run over several hosts: one JSON object a line.

Both ends prove that they know the run's key before anything else is read; the key itself is never sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import socket
from typing import Sequence

from orchestrator.core import jsontext
from orchestrator.core.jsontext import Object

BEAT = 5.0  # seconds between two messages that say nothing else
SILENCE = 45.0  # seconds without any message after which a host is lost
_CONNECT = 3.0  # seconds for a connection and its proof
_LONGEST = 1 << 16  # bytes of a message
_IPV4 = "::ffff:"  # before an IPv4 address of a socket for both


class Lost(Exception):
    """The connection ended, or carries what no supervisor sends."""


class Line:
    """A connection that never blocks. `heard`: when a message came last."""

    def __init__(self, connection: socket.socket, now: float) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._rest = b""
        self._beat = now
        self.heard = now

    @property
    def local_address(self) -> str:
        address = str(self._socket.getsockname()[0])
        return address[len(_IPV4) :] if address.startswith(_IPV4) else address

    def send(self, word: str, value: object) -> None:
        """Sends `{word: value}`. Raises Lost. Messages are short: a full buffer means that nobody reads."""
        self._write(json.dumps({word: value}))

    def _write(self, message: str) -> None:
        try:
            self._socket.sendall(message.encode() + b"\n")
        except OSError as error:
            raise Lost(str(error)) from None

    def beat(self, now: float) -> None:
        """Shows the other end that this one lives. Raises Lost, also where the other one was silent."""
        if now - self.heard > SILENCE:
            raise Lost("silent for %.0f s" % (now - self.heard))
        if now - self._beat >= BEAT:
            self._beat = now
            self._write("{}")

    def receive(self, now: float) -> list[Object]:
        """Returns the messages that have arrived. Raises Lost at the end of the connection."""
        try:
            self._read(now)
        except Lost:
            if b"\n" not in self._rest:
                raise
        *complete, self._rest = self._rest.split(b"\n")
        return [_parse(line) for line in complete]

    def _read(self, now: float) -> None:
        while True:
            try:
                block = self._socket.recv(_LONGEST)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                raise Lost(str(error)) from None
            if not block:
                raise Lost("it closed the connection")
            self._rest += block
            self.heard = now
            if len(self._rest) > _LONGEST:
                self._rest = b""
                raise Lost("it sent a message that is too long")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def finish(self) -> None:
        """Closes the connection once the other end has read what was sent, or after a moment."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(_CONNECT)
            while self._socket.recv(_LONGEST):
                pass
        self.close()


class Guest:
    """A connection to rank 0 that has not proved yet which host it is."""

    def __init__(self, connection: socket.socket, key: str, now: float) -> None:
        self.line = Line(connection, now)
        self.since = now
        self._key = key
        self._nonce = os.urandom(16).hex()
        self.line.send("nonce", self._nonce)

    def identify(self, now: float) -> tuple[int, str] | None:
        """Returns rank and the address that it used, once it has proved them; None so far. Raises Lost."""
        if now - self.since > BEAT:
            raise Lost("it does not say who it is")
        messages = self.line.receive(now)
        if not messages:
            return None
        hello = messages[0]
        rank, nonce, address = hello.integer("rank"), hello.text("nonce"), hello.text("address")
        proof = _proof(self._key, "member", self._nonce, rank, address)
        if not hmac.compare_digest(proof, hello.text("proof") or ""):
            raise Lost("it does not know the key of the run")
        self.line.send("proof", _proof(self._key, "leader", nonce))
        return None if rank is None or address is None else (rank, address)


def connect(address: str, port: int, key: str, rank: int, now: float) -> Line:
    """Connects to rank 0, proves this host's rank and has rank 0 prove itself. Raises OSError or Lost."""
    connection = socket.create_connection((address, port), _CONNECT)
    try:
        with connection.makefile("rb") as answers:
            challenge = _parse(answers.readline(_LONGEST)).text("nonce")
            nonce = os.urandom(16).hex()
            proof = _proof(key, "member", challenge, rank, address)
            hello = {"rank": rank, "nonce": nonce, "address": address, "proof": proof}
            connection.sendall(json.dumps(hello).encode() + b"\n")
            answer = _parse(answers.readline(_LONGEST)).text("proof")
        if not hmac.compare_digest(_proof(key, "leader", nonce), answer or ""):
            raise Lost("%s:%d does not know the key of the run" % (address, port))
        return Line(connection, now)
    except BaseException:
        connection.close()
        raise


def listen(port: int) -> socket.socket:
    """Returns a socket of all addresses of this host, IPv6 too. Raises OSError if the port is in use."""
    has_ipv6 = socket.has_dualstack_ipv6()
    listener = socket.socket(socket.AF_INET6 if has_ipv6 else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if has_ipv6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("", port))
        listener.listen(64)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def accept(listener: socket.socket) -> Sequence[socket.socket]:
    """Returns the connections that wait to be accepted."""
    accepted: list[socket.socket] = []
    with contextlib.suppress(OSError):
        while len(accepted) < 64:
            accepted.append(listener.accept()[0])
    return accepted


def free_port() -> int:
    """Returns a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _proof(key: str, *parts: object) -> str:
    return hmac.new(key.encode(), json.dumps(parts).encode(), hashlib.sha256).hexdigest()


def _parse(line: bytes) -> Object:
    try:
        return jsontext.read_object(line)
    except jsontext.BadJson:
        raise Lost("it sent no message of a supervisor") from None
