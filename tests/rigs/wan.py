"""A slow network for benchmarks: two namespaces with delay, rate, queue and loss between them."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from tests.rigs import needs
from tests.rigs.process import guarded

SOURCE = Path(__file__).with_name("tunlink.c")
NEAR, FAR = "127.77.0.1", "127.77.0.2"


class Unavailable(RuntimeError):
    """Raised if this machine cannot simulate a slow network; the text is the reason."""


def why_not() -> str:
    """Return why this machine cannot simulate a slow network; empty if it can."""
    if not needs.is_root():
        return "a long line needs Linux and root"
    missing = [name for name in ("cc", "ip", "nsenter", "setpriv") if needs.tool(name) is None]
    if missing:
        return f"a long line needs {' '.join(missing)}"
    return "" if Path("/dev/net/tun").exists() else "a long line needs /dev/net/tun"


class Wan:
    """`with Wan(delay=0.025, rate=37.5e6) as wan:` is a line from `wan.near` to `wan.far_ip`.

    delay: seconds one way. rate: bytes per second each way, 0 for no limit. queue: bytes that wait before
    the line drops packets. loss: share of packets lost, 0 to 1. `near` and `far` are words to put before a
    command so that it runs at that end; nothing but the line leads out of an end. Raises Unavailable.
    """

    near_ip, far_ip = NEAR, FAR

    def __init__(
        self, *, delay: float = 0.025, rate: float = 37.5e6, queue: int = 4 << 20, loss: float = 0.0
    ) -> None:
        self._numbers = [round(delay * 1e6), round(rate), queue, round(loss * 1e6)]

    def __enter__(self) -> Wan:
        if reason := why_not():
            raise Unavailable(reason)
        with tempfile.TemporaryDirectory(prefix="wan-") as folder:
            link = _compiled(Path(folder))
            self._process = guarded([link, *map(str, self._numbers)], subprocess.PIPE, subprocess.PIPE)
            try:
                self.near, self.far = self._ends()
                _give_address(self.near, NEAR, FAR)
                _give_address(self.far, FAR, NEAR)
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _ends(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        if words[:1] != [b"ready"]:
            raise Unavailable(f"no line was made: {self._process.communicate()[1].decode().strip()}")
        near, far = (("nsenter", f"--net=/proc/{self._process.pid}/fd/{int(fd)}", "--") for fd in words[1:3])
        return near, far


def _compiled(folder: Path) -> str:
    program = folder / "tunlink"
    words = ["cc", "-O2", "-o", str(program), str(SOURCE)]
    result = subprocess.run(
        words, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"}, check=False
    )
    if result.returncode:
        raise Unavailable(f"cc cannot compile {SOURCE.name}: {result.stderr.strip()}")
    return str(program)


def _give_address(end: tuple[str, ...], own: str, other: str) -> None:
    """Assign a loopback address to an end; `lo` is down at both ends, so packets use the line."""
    script = f"""
        for name in all tun0; do echo 1 > /proc/sys/net/ipv4/conf/$name/route_localnet; done
        ip addr add {own} peer {other} dev tun0
        ip link set tun0 up mtu 1500 txqueuelen 5000
    """
    words = [*end, "sh", "-ec", script]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode:
        raise Unavailable(f"{shlex.join(words[:2])}: {result.stderr.strip()}")
