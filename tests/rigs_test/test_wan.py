"""A Wan has the requested delay, rate and loss."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.rigs import needs, wan
from tests.rigs.patience import PATIENCE
from tests.rigs.wan import Wan
from tests.rigs_test.conftest import Machines

SERVER = """
import socket
server = socket.create_server(("127.77.0.2", 2000))
print("ready", flush=True)
while True:
    with server.accept()[0] as client:
        while data := client.recv(1 << 16):
            client.sendall(data[:1])
"""
TRIPS = """
import socket, time
client = socket.create_connection(("127.77.0.2", 2000))
times = []
for _ in range(5):
    start = time.monotonic(); client.sendall(b"x"); client.recv(1); times.append(time.monotonic() - start)
print(min(times))
"""
UPLOAD = """
import socket, time
client = socket.create_connection(("127.77.0.2", 2000))
start = time.monotonic(); client.sendall(bytes(5_000_000)); client.shutdown(socket.SHUT_WR)
while client.recv(1 << 16): pass
print(5_000_000 / (time.monotonic() - start))
"""

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _able() -> None:
    needs.require("ip")
    if reason := wan.why_not():
        pytest.skip(reason)


def measured(line: Wan, script: str) -> float:
    """Return the output of `script` at the near end, with the server at the far end."""
    far = [*line.far, sys.executable, "-c", SERVER]
    with subprocess.Popen(far, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            near = [*line.near, sys.executable, "-c", script]
            return float(subprocess.run(near, capture_output=True, timeout=PATIENCE, check=True).stdout)
        finally:
            server.kill()


def test_a_round_trip_takes_at_least_twice_the_delay() -> None:
    with Wan(delay=0.025, rate=0) as line:
        assert measured(line, TRIPS) >= 0.05


def test_the_line_is_no_wider_than_its_rate() -> None:
    with Wan(delay=0.002, rate=10e6) as line:
        assert measured(line, UPLOAD) < 10e6


def test_a_line_that_loses_everything_carries_nothing() -> None:
    words = ["import socket; socket.create_connection(('127.77.0.2', 2000), timeout=0.5)"]
    with Wan(delay=0, loss=1) as line:
        result = subprocess.run([*line.near, sys.executable, "-c", *words], capture_output=True, check=False)
        assert b"timed out" in result.stderr


def test_a_machine_is_reachable_at_the_far_end_only(machine: Machines) -> None:
    with Wan(delay=0.005) as line:
        host = machine(ip=line.far_ip, prefix=line.far)
        words = [*line.near, "ssh", *host.ssh_options(), "fakehost", "pwd"]
        assert subprocess.run(words, capture_output=True, text=True, check=False).stdout == f"{host.home}\n"
        assert "Connection refused" in host.ssh("true").stderr
        host.kill_machine()


def test_the_namespaces_end_with_the_line() -> None:
    with Wan(delay=0) as line:
        namespace = Path(line.near[1].partition("=")[2])
        assert namespace.exists()
    assert not namespace.exists()


def test_a_missing_compiler_is_a_clear_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(wan.Unavailable, match="a long line needs cc nsenter setpriv"):
        Wan().__enter__()
