"""A FaultProxy injects its faults at the exact byte."""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.faultproxy import FaultProxy
from tests.rigs.patience import PATIENCE
from tests.rigs_test.conftest import Machines

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the rigs need Linux")
SOME = bytes(range(256)) * 4096


class Echo:
    """A server that echoes its input, and records how each connection ended."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.got = 0
        self.ends: list[str] = []
        self.ended = threading.Semaphore(0)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.answer, args=self.listener.accept()[:1], daemon=True).start()

    def answer(self, client: socket.socket) -> None:
        end = "fin"
        with client:
            try:
                while data := client.recv(1 << 16):
                    self.got += len(data)
                    client.sendall(data)
            except OSError:
                end = "reset"
        self.ends.append(end)
        self.ended.release()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()


def connect(proxy: FaultProxy) -> socket.socket:
    client = socket.create_connection(proxy.address, timeout=PATIENCE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def receive(client: socket.socket, count: int) -> bytes:
    """Return `count` bytes, or fewer if the peer closes first. ConnectionError on a reset."""
    parts = []
    while count and (part := client.recv(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def send(client: socket.socket, data: bytes) -> None:
    """Send until the connection is cut."""
    with contextlib.suppress(OSError):
        client.sendall(data)


def round_trip(client: socket.socket) -> float:
    start = time.monotonic()
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    return time.monotonic() - start


def test_bytes_pass_unchanged_and_are_counted(echo: Echo) -> None:
    with FaultProxy(echo.address) as proxy, connect(proxy) as client:
        writer = threading.Thread(target=client.sendall, args=(SOME,))
        writer.start()
        assert receive(client, len(SOME)) == SOME
        writer.join()
        assert proxy.connections == 1
    # The client may hold bytes that are not counted yet: the figures are final once the proxy has ended.
    assert proxy.passed == {"up": len(SOME), "down": len(SOME)}


def test_the_end_of_one_direction_leaves_the_other_open(echo: Echo) -> None:
    with FaultProxy(echo.address, delay=0.01) as proxy, connect(proxy) as client:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 100) == b"last words"
        assert echo.ended.acquire(timeout=PATIENCE)
        assert echo.ends == ["fin"]


@pytest.mark.parametrize("delay", [0.0, 0.025, 0.1])
def test_a_round_trip_takes_at_least_twice_the_delay(echo: Echo, delay: float) -> None:
    with FaultProxy(echo.address, delay=delay) as proxy, connect(proxy) as client:
        assert min(round_trip(client) for _ in range(5)) >= 2 * delay


def test_the_pace_can_change_while_a_connection_lives(echo: Echo) -> None:
    with FaultProxy(echo.address) as proxy, connect(proxy) as client:
        proxy.pace(delay=0.05)
        assert round_trip(client) >= 0.1


def test_a_rate_is_not_exceeded(echo: Echo) -> None:
    with FaultProxy(echo.address, rate=1e6) as proxy, connect(proxy) as client:
        start = time.monotonic()
        client.sendall(bytes(300_000))
        receive(client, 300_000)
        assert time.monotonic() - start >= 0.3


def test_a_delayed_line_buffers_data_before_a_byte_arrives(echo: Echo) -> None:
    """So its throughput is one buffer per delay: 640 MB/s at 25 ms, if the processor is fast enough."""
    size = 16 << 20
    with FaultProxy(echo.address, delay=PATIENCE, buffer=size) as proxy, connect(proxy) as client:
        client.sendall(bytes(size))
        assert (echo.got, proxy.passed["up"]) == (0, 0)
        proxy.cut()


def test_a_stall_moves_nothing_until_it_is_resumed(echo: Echo) -> None:
    with FaultProxy(echo.address) as proxy, connect(proxy) as client:
        round_trip(client)
        proxy.stall()
        client.sendall(b"late")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert (echo.got, proxy.passed["up"]) == (1, 1)
        client.settimeout(PATIENCE)
        proxy.resume()
        assert receive(client, 4) == b"late"


def test_a_stall_retains_the_bytes_in_transit(echo: Echo) -> None:
    with FaultProxy(echo.address, delay=0.15) as proxy, connect(proxy) as client:
        client.sendall(b"on the way")
        time.sleep(0.05)
        proxy.stall()
        time.sleep(0.15)
        connect(proxy).close()  # what wakes the proxy does not set them free
        time.sleep(0.1)
        assert (echo.got, proxy.passed["up"]) == (0, 0)
        proxy.resume()
        assert receive(client, 10) == b"on the way"


@pytest.mark.parametrize("count", [1, 1000, 777_777])
@pytest.mark.parametrize("rst", [True, False])
def test_a_download_is_cut_at_the_exact_byte(echo: Echo, count: int, rst: bool) -> None:
    with FaultProxy(echo.address) as proxy, connect(proxy) as client:
        round_trip(client)
        proxy.cut_after("down", count, rst=rst)
        threading.Thread(target=send, args=(client, SOME), daemon=True).start()
        assert receive(client, count) == SOME[:count]
        if rst:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        else:
            assert client.recv(1) == b""
        assert proxy.passed["down"] == 1 + count


def test_an_upload_is_cut_once_at_the_exact_byte(echo: Echo) -> None:
    with FaultProxy(echo.address) as proxy:
        proxy.cut_after("up", 1000)
        with connect(proxy) as client, contextlib.suppress(ConnectionError):
            client.sendall(SOME)
            receive(client, len(SOME))
        assert echo.ended.acquire(timeout=PATIENCE)
        assert (echo.got, echo.ends) == (1000, ["reset"])
        with connect(proxy) as client:
            round_trip(client)


@pytest.mark.parametrize(("rst", "end"), [(True, "reset"), (False, "fin")])
def test_a_cut_ends_both_sides_by_reset_or_by_fin(echo: Echo, rst: bool, end: str) -> None:
    with FaultProxy(echo.address) as proxy, connect(proxy) as client:
        round_trip(client)
        proxy.cut(rst=rst)
        if rst:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        else:
            assert client.recv(1) == b""
        assert echo.ended.acquire(timeout=PATIENCE)
        assert echo.ends == [end]


def test_refused_connections_are_refused_by_the_kernel_until_accept(echo: Echo) -> None:
    with FaultProxy(echo.address) as proxy, connect(proxy) as client:
        round_trip(client)
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        round_trip(client)
        proxy.accept()
        with connect(proxy) as later:
            round_trip(later)


def test_a_black_hole_accepts_connections_and_answers_nothing(echo: Echo) -> None:
    with FaultProxy(echo.address) as proxy:
        proxy.blackhole()
        with connect(proxy) as client:
            client.sendall(b"hello")
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(1)
        assert (proxy.connections, proxy.passed["up"], echo.got) == (1, 0, 0)


def test_a_target_that_refuses_resets_the_client(echo: Echo) -> None:
    with socket.socket() as taken:  # and not listened on
        taken.bind(("127.0.0.1", 0))
        with (
            FaultProxy(taken.getsockname()) as proxy,
            pytest.raises(ConnectionResetError),
            connect(proxy) as client,
        ):
            client.recv(1)


def test_rsync_works_through_the_proxy_and_resumes_after_a_cut(machine: Machines, tmp_path: Path) -> None:
    host = machine(ip="127.0.0.2")
    source = tmp_path / "file"
    source.write_bytes(SOME)
    with FaultProxy(host.address) as proxy:
        shell = shlex.join(["ssh", *host.ssh_options(proxy.address)])
        words = ["rsync", "--partial", "--append-verify", "-e", shell, str(source), "fakehost:file"]
        proxy.cut_after("up", len(SOME) // 2)
        broken = subprocess.run(words, capture_output=True, timeout=PATIENCE, check=False)
        assert broken.returncode in (10, 12, 255), broken.stderr
        result = subprocess.run(words, capture_output=True, timeout=PATIENCE, check=False)
        assert result.returncode == 0, result.stderr
        assert proxy.connections == 2
    assert (host.home / "file").read_bytes() == SOME
