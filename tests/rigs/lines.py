"""Parts of a FaultProxy: the two directions of a connection, and how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios
from collections import deque
from typing import Literal

Direction = Literal["up", "down"]
CHUNK = 1 << 18
STEP = 0.005  # seconds of transfer at the line's rate that are sent as one piece


class Pace:
    """The speed of a line: `delay` seconds one way, `rate` bytes per second each way (0: no limit)."""

    def __init__(self, delay: float, rate: float, buffer: int) -> None:
        self.delay = delay
        self.rate = rate
        self.buffer = buffer

    def room(self) -> int:
        """Return the number of bytes that may be in transit before the sender has to wait."""
        return (
            max(1 << 14, min(self.buffer, int(self.rate * (self.delay + 0.1)))) if self.rate else self.buffer
        )

    def piece(self) -> int:
        return max(512, int(self.rate * STEP)) if self.rate else CHUNK


class Flow:
    """One direction of a connection: what was read from `source`, and when each piece of it may leave."""

    def __init__(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        self.source = source
        self.sink = sink
        self.direction = direction
        self.blocked = False  # the sink's buffer is full
        self.ended = False  # the source has sent FIN
        self.done = False  # and FIN was sent to the sink
        self._queue: deque[tuple[float, memoryview | None]] = deque()  # None: the source was reset
        self._queued = 0
        self._free = 0.0

    def wants(self, pace: Pace) -> bool:
        return not self.ended and self._queued < pace.room()

    def due(self) -> float | None:
        """Return when the next piece may be sent; None if there is none or the sink is full."""
        return self._queue[0][0] if self._queue and not self.blocked else None

    def read(self, pace: Pace, now: float) -> None:
        try:
            data = self.source.recv(min(CHUNK, max(1, pace.room() - self._queued)))
        except BlockingIOError:
            return
        except OSError:
            self.ended = True
            self._queue.append((now + pace.delay, None))
            return
        self.ended = not data
        self._free = max(self._free, now)
        view, step = memoryview(data), pace.piece()
        for start in range(0, max(1, len(data)), step):
            piece = view[start : start + step]
            self._free += len(piece) / pace.rate if pace.rate else 0.0
            self._queue.append((self._free + pace.delay, piece))
        self._queued += len(data)

    def write(self, most: int) -> int:
        """Send at most `most` bytes of the next piece; return the number sent. OSError: an end is closed."""
        when, piece = self._queue[0]
        if piece is None:
            raise ConnectionResetError
        if not piece:
            self._queue.popleft()
            self.done = True
            self.sink.shutdown(socket.SHUT_WR)
            return 0
        try:
            sent = self.sink.send(piece[:most])
        except BlockingIOError:
            self.blocked = True
            return 0
        self._queued -= sent
        self._queue.popleft()
        if sent < len(piece):
            self._queue.appendleft((when, piece[sent:]))
        return sent


class Pair:
    """A client's connection and the one made for it to the target (`server` is None in a black hole)."""

    def __init__(self, client: socket.socket, server: socket.socket | None) -> None:
        self.ends = [client] if server is None else [client, server]
        self.flows = [] if server is None else [Flow(client, server, "up"), Flow(server, client, "down")]
        self.closing: tuple[socket.socket, bool] | None = None  # cut, by reset or not, when this end has all
        self.draining = False  # FIN was sent to both ends; further bytes of theirs are dropped
        for end in self.ends:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def say_goodbye(self) -> None:
        """Send FIN to both ends. Closing would send a reset if unread bytes remain."""
        self.flows, self.draining = [], True
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_WR)

    def close(self, *, rst: bool) -> None:
        self.flows = []
        for end in self.ends:
            if rst:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()


def unsent(end: socket.socket) -> int:
    """Return the number of sent bytes that the peer's kernel has not acknowledged."""
    return int(struct.unpack("i", fcntl.ioctl(end, termios.TIOCOUTQ, b"\0" * 4))[0])
