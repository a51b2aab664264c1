"""Listens on ports of this machine, and connects each connection to a port of a host."""

from __future__ import annotations

import contextlib
import errno
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from orchestrator.context import Context
from orchestrator.errors import AccessError, GpujobError, UsageError
from orchestrator.targets.base import Host

_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds between attempts to connect again; the last one repeats
_CHECK_SECONDS = 2.0  # between two looks at the connection
_ADDRESS = "127.0.0.1"


class Port(NamedTuple):
    """A port of this machine, and the port of the host that it leads to."""

    local: int
    remote: int

    def __str__(self) -> str:
        return f"{_ADDRESS}:{self.local}"


def parse_port(word: str) -> Port:
    """`6006`, or `8080:6006` for another port here. UsageError."""
    parts = word.split(":")
    numbers = [int(part) if part.isascii() and part.isdigit() else 0 for part in parts]
    if len(parts) > 2 or not all(0 < number < 65536 for number in numbers):
        why = "a number from 1 to 65535, or LOCAL:REMOTE"
        raise UsageError(f"{word!r} is not a port", why, "6006, or 8080:6006 for another port here")
    return Port(numbers[0], numbers[-1])


def parse_ports(words: Sequence[str]) -> list[Port]:
    """The ports of several words. UsageError for a port of this machine that two of them name."""
    ports = [parse_port(word) for word in words]
    for number, port in enumerate(ports):
        if port.local in {before.local for before in ports[:number]}:
            other = f"{port.local + 1}:{port.remote}"
            raise UsageError(f"port {port.local} of this machine is named twice", "", f"write {other}")
    return ports


class Forwarder:
    """Each connection gets a channel of its own. A cut ends those that are open; new ones wait."""

    def __init__(self, ctx: Context, host: Host, ports: Sequence[Port]) -> None:
        self._ctx = ctx
        self._host = host
        self._ports = ports
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._silent: set[int] = set()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Within it, the ports are open. GpujobError for one that is in use, and for a host without any."""
        self._host.channel(self._ports[0].remote)  # which raises if the host forwards no ports
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(_listen(port)) for port in self._ports]
            if not self._host.is_connected():
                self._host.connect_again()
            for port, server in zip(self._ports, servers, strict=True):
                threading.Thread(target=self._serve, args=(port, server), daemon=True).start()
            try:
                yield
            finally:
                self._ended.set()

    def watch(self) -> None:
        """Keeps the connection up until Ctrl-C. AccessError if the host no longer accepts the login."""
        while True:
            self.reconnect()
            self._ctx.sleep(_CHECK_SECONDS)

    def reconnect(self) -> None:
        """Returns once there is a connection; says when it was lost and when it is back."""
        with self._lock:
            if self._host.is_connected():
                return
            self._ctx.talk(f"the connection to {self._host.label} was lost; connecting again")
            attempt = 0
            while not self._ended.is_set():
                try:
                    self._host.connect_again()
                except AccessError:
                    raise
                except GpujobError as error:
                    if attempt == 0:
                        self._ctx.talk(f"  {error}")
                    self._ctx.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
                    attempt += 1
                else:
                    self._ctx.talk(f"connected to {self._host.label} again")
                    return

    def _serve(self, port: Port, server: socket.socket) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return  # the socket was closed
            threading.Thread(target=self._carry, args=(port, connection), daemon=True).start()

    def _carry(self, port: Port, connection: socket.socket) -> None:
        """The command reads from and writes to the socket itself."""
        with connection:
            with contextlib.suppress(GpujobError):  # `watch` reports it
                self.reconnect()
            words, env = self._host.channel(port.remote)
            end = connection.fileno()
            process = subprocess.Popen(
                words, stdin=end, stdout=end, stderr=subprocess.PIPE, env=env, start_new_session=True
            )
        _, errors = process.communicate()
        is_refused = b"refused" in errors or b"open failed" in errors
        if is_refused and port.remote not in self._silent:
            self._silent.add(port.remote)
            self._ctx.talk(f"nothing listens on port {port.remote} of {self._host.label} yet")
        elif not process.returncode:
            self._silent.discard(port.remote)


def _listen(port: Port) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((_ADDRESS, port.local))
        server.listen(64)
    except OSError as error:
        server.close()
        if error.errno == errno.EADDRINUSE:
            other = port.local + 10000 if port.local < 50000 else port.local - 10000
            what, fix = f"port {port.local} of this machine is in use", f"use another: {other}:{port.remote}"
            raise GpujobError(what, "another program listens on it", fix) from None
        what = f"port {port.local} of this machine cannot be opened"
        raise GpujobError(what, error.strerror or str(error), f"use another: 8080:{port.remote}") from None
    return server
