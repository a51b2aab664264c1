"""A TCP proxy that delays, limits, stalls, cuts, refuses or swallows connections on request."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.rigs.lines import Direction, Flow, Pace, Pair, unsent
from tests.rigs.patience import PATIENCE
from tests.rigs.process import free_port


@dataclass
class _Cut:
    left: int
    rst: bool


class FaultProxy:
    """`with FaultProxy(host.address, delay=0.025) as proxy:` forwards connections to `proxy.address`.

    Every method may be called from any thread, and has taken effect when it returns. One thread moves all
    bytes: 0.2 ms of precision, hundreds of MB/s. A connection to the proxy itself is never delayed; where the
    target refuses, the client is reset.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        delay: float = 0.0,
        rate: float = 0.0,
        buffer: int = 8 << 20,
        listen: str = "127.0.0.1",
    ) -> None:
        self.target = target
        self.address = (listen, free_port(listen))
        self.connections = 0  # accepted connections, including those of the black hole
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}  # bytes; "up" is towards the target
        self._pace = Pace(delay, rate, buffer)
        self._mode: Literal["accept", "refuse", "blackhole"] = "accept"
        self._stalled = False
        self._closed = False
        self._cuts: dict[Direction, _Cut] = {}
        self._pairs: list[Pair] = []
        self._calls: list[tuple[Callable[[], None], threading.Event]] = []
        self._selector = selectors.DefaultSelector()
        self._watched: dict[socket.socket, int] = {}
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._bell, self._ring = socket.socketpair()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(self.address)
        self._listen()
        self._selector.register(self._bell, selectors.EVENT_READ, lambda _: self._obey())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):
            self._do(self._close)
        self._thread.join(PATIENCE)
        for end in (self._bell, self._ring, self._listener):
            end.close()
        self._selector.close()

    def pace(self, delay: float = 0.0, rate: float = 0.0) -> None:
        """Set `delay` seconds each way and `rate` bytes per second each way (0: no limit)."""
        self._do(lambda: self._set_pace(delay, rate))

    def stall(self) -> None:
        """Transfer nothing and report no error until `resume`; new connections are accepted."""
        self._do(lambda: setattr(self, "_stalled", True))

    def resume(self) -> None:
        """End a stall and deliver the bytes sent meanwhile."""
        self._do(lambda: setattr(self, "_stalled", False))

    def cut(self, *, rst: bool = True) -> None:
        """End every connection at both ends, by a reset or an orderly close; bytes in transit are lost."""
        self._do(lambda: self._cut_all(rst))

    def cut_after(self, direction: Direction, count: int, *, rst: bool = True) -> None:
        """Cut one connection once, after `count` more bytes have passed that way over all connections."""
        self._do(lambda: self._cuts.__setitem__(direction, _Cut(count, rst)))

    def refuse(self) -> None:
        """Let the kernel refuse new connections until `accept`; open ones continue."""
        self._do(lambda: self._become("refuse"))

    def blackhole(self) -> None:
        """Accept new connections and never answer them until `accept`; open ones continue."""
        self._do(lambda: self._become("blackhole"))

    def accept(self) -> None:
        """Forward new connections again."""
        self._do(lambda: self._become("accept"))

    def _do(self, call: Callable[[], None]) -> None:
        """Make the call in the proxy's thread; RuntimeError if that thread has ended."""
        made = threading.Event()
        self._calls.append((call, made))
        with contextlib.suppress(OSError):
            self._ring.send(b"!")
        if not self._thread.is_alive() or not made.wait(PATIENCE):
            raise RuntimeError("the fault proxy is not running")

    def _obey(self) -> None:
        self._bell.recv(4096)
        while self._calls:
            call, made = self._calls.pop(0)
            call()
            made.set()

    def _cut_all(self, rst: bool) -> None:
        for pair in self._pairs:
            self._end(pair, rst)

    def _set_pace(self, delay: float, rate: float) -> None:
        self._pace.delay, self._pace.rate = delay, rate

    def _listen(self) -> None:
        self._listener.listen(128)
        self._selector.register(self._listener, selectors.EVENT_READ, lambda _: self._take())

    def _become(self, mode: Literal["accept", "refuse", "blackhole"]) -> None:
        if mode == "refuse" and self._mode != "refuse":
            self._selector.unregister(self._listener)
            self._listener.shutdown(socket.SHUT_RDWR)  # keeps the port, so that it can listen again
        elif self._mode == "refuse" and mode != "refuse":
            self._listen()
        self._mode = mode

    def _take(self) -> None:
        client, _ = self._listener.accept()
        self.connections += 1
        server = None
        if self._mode == "accept":
            try:
                server = socket.create_connection(self.target, timeout=PATIENCE)
            except OSError:
                Pair(client, None).close(rst=True)
                return
        self._pairs.append(Pair(client, server))

    def _run(self) -> None:
        while not self._closed:
            for key, mask in self._selector.select(self._pause()):
                key.data(mask)
            if self._closed:  # its sockets are closed: nothing is left to serve
                return
            for pair in list(self._pairs):
                self._serve(pair)
            self._forget()

    def _pause(self) -> float | None:
        """Return the idle time in whole milliseconds; sleeps the fraction here."""
        waits = [0.001 for pair in self._pairs if pair.closing is not None]
        if not self._stalled:
            flows = [flow for pair in self._pairs if pair.closing is None for flow in pair.flows]
            due = [when for flow in flows if (when := flow.due()) is not None]
            waits += [max(0.0, min(due) - time.monotonic())] if due else []
        if not waits:
            return None
        if (wait := min(waits)) < 0.001:
            time.sleep(wait)
            return 0.0
        return int(wait * 1000) / 1000

    def _serve(self, pair: Pair) -> None:
        try:
            for flow in pair.flows:
                self._push(pair, flow)
        except OSError:
            self._end(pair, rst=True)
        if pair.closing is not None and not unsent(pair.closing[0]):
            self._end(pair, pair.closing[1])
        elif pair.flows and all(flow.done for flow in pair.flows):
            self._drop(pair, rst=False)
        for end in pair.ends:
            self._watch(end, pair)

    def _push(self, pair: Pair, flow: Flow) -> None:
        """Send all pieces that are due, up to the byte at which to cut."""
        while not self._stalled and pair.closing is None:
            cut = self._cuts.get(flow.direction)
            if cut and cut.left <= 0:
                del self._cuts[flow.direction]
                pair.closing = (flow.sink, cut.rst)
                return
            due = flow.due()
            if due is None or due > time.monotonic():
                return
            sent = flow.write(cut.left if cut else 1 << 30)
            self.passed[flow.direction] += sent
            if cut:
                cut.left -= sent

    def _watch(self, end: socket.socket, pair: Pair) -> None:
        """Register this end for the events it waits for."""
        mask = selectors.EVENT_READ if pair.draining else 0
        for flow in () if self._stalled or pair.closing is not None else pair.flows:
            if flow.source is end and flow.wants(self._pace):
                mask |= selectors.EVENT_READ
            if flow.sink is end and flow.blocked:
                mask |= selectors.EVENT_WRITE
        if mask == self._watched.get(end, 0):
            return
        if end in self._watched:
            self._selector.unregister(end)
            del self._watched[end]
        if mask:
            self._selector.register(end, mask, lambda ready: self._ready(pair, end, ready))
            self._watched[end] = mask

    def _ready(self, pair: Pair, end: socket.socket, ready: int) -> None:
        if pair.draining:
            self._drain(pair, end)
        for flow in pair.flows:
            if flow.sink is end and ready & selectors.EVENT_WRITE:
                flow.blocked = False
            if flow.source is end and ready & selectors.EVENT_READ and flow.wants(self._pace):
                flow.read(self._pace, time.monotonic())

    def _drain(self, pair: Pair, end: socket.socket) -> None:
        try:
            if end not in pair.ends or end.recv(1 << 16):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        pair.ends.remove(end)
        self._unwatch(end)
        end.close()

    def _end(self, pair: Pair, rst: bool) -> None:
        pair.closing = None
        if rst:
            self._drop(pair, rst=True)
        else:
            pair.say_goodbye()
            for end in pair.ends:
                self._watch(end, pair)

    def _drop(self, pair: Pair, *, rst: bool) -> None:
        for end in pair.ends:
            self._unwatch(end)
        pair.close(rst=rst)
        pair.ends = []

    def _unwatch(self, end: socket.socket) -> None:
        if self._watched.pop(end, None):
            self._selector.unregister(end)

    def _forget(self) -> None:
        self._pairs = [pair for pair in self._pairs if pair.ends]

    def _close(self) -> None:
        for pair in self._pairs:
            self._drop(pair, rst=True)
        self._closed = True
