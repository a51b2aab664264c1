"""The machine of an instance: an overlay of this machine's root as its disk, and its first process."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.rigs.patience import PATIENCE
from tests.rigs.process import PATH, children

REBOOTED = 133
"""The exit code of systemd-nspawn if the machine rebooted."""


@dataclass(frozen=True)
class Birth:
    """The fixed properties of a machine. `visible`: folders below /tmp that it can read."""

    id: str
    folder: Path
    user: str
    public_key: str | None
    metadata_url: str
    disk_mb: int
    visible: tuple[Path, ...]
    nvidia_smi: str | None = None


class Machine:
    """A machine that can be powered on, off and destroyed. `off` is called when it powers itself off.

    has_rebooted: it did that to boot again.
    """

    def __init__(self, birth: Birth, off: Callable[[], None]) -> None:
        self.birth = birth
        self.ip = self.name = ""
        self.user_data = b""
        self.went_off: float | None = None
        self._off = off
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()
        self._gone = False
        self.has_rebooted = False

    @property
    def root(self) -> Path:
        """The root folder of the machine's disk; exists after the first start."""
        return self.birth.folder / "root"

    @property
    def pid(self) -> int | None:
        """The host PID of the machine's PID 1; None while it is off."""
        process = self._process
        if process is None or process.poll() is not None:
            return None
        return next(iter(children(process.pid)), None)

    @property
    def is_on(self) -> bool:
        process = self._process
        return process is not None and process.poll() is None

    def start(self, ip: str, user_data: bytes) -> None:
        with self._lock:
            if self._gone:
                return
            self.ip, self.user_data = ip, user_data
            first = not self.root.exists()
            self._mount()
            if first:
                self.name = "ip-" + ip.replace(".", "-")
                self.write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
            self.prepare(first)
            if first and self.birth.nvidia_smi:
                self.write("/usr/local/bin/nvidia-smi", self.birth.nvidia_smi, 0o755)
            with (self.birth.folder / "console.log").open("ab") as console:
                self._process = subprocess.Popen(
                    self.words(),
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    env={"PATH": PATH, "LANG": "C.UTF-8"},
                    start_new_session=True,
                )
            threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()

    def stop(self) -> None:
        """Cut the power: processes get no signal, the disk is kept."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                _end(process)

    def reboot(self) -> None:
        """Ask the system to reboot, as its power button does."""
        raise NotImplementedError

    def destroy(self) -> None:
        with self._lock:
            self._gone = True
            self.stop()
            for mount in (self.root, self.birth.folder / "disk"):
                subprocess.run(["umount", "-l", str(mount)], capture_output=True, check=False)
            shutil.rmtree(self.birth.folder, ignore_errors=True)

    def console(self) -> bytes:
        """Return the last 64 KiB of the console output, as EC2 does."""
        with contextlib.suppress(OSError):
            return (self.birth.folder / "console.log").read_bytes()[-65536:]
        return b""

    def run(self, words: Sequence[str], stdin: bytes = b"", seconds: float = PATIENCE) -> tuple[int, bytes]:
        """Run `words` in the machine as root; return exit code and output. RuntimeError while it is off."""
        pid = self.inside()
        inside = ["nsenter", "-t", str(pid), "-m", "-u", "-i", "-p", "-r", "-w", "--", *words]
        result = subprocess.run(
            inside,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": PATH, "LANG": "C.UTF-8"},
            timeout=seconds,
            check=False,
        )
        return result.returncode, result.stdout

    def inside(self) -> int:
        """Return the machine's PID 1 once it runs in the machine's root. RuntimeError while it is off."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            pid = self.pid
            with contextlib.suppress(OSError):
                if pid is not None and _is_first(pid) and not Path(f"/proc/{pid}/root").samefile("/"):
                    return pid
            if self._process is None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"{self.birth.id} is off; its console: {self.console()[-1000:]!r}")

    def prepare(self, first: bool) -> None:
        """Write the files that the machine needs to boot into `root`; `first`: it has never booted."""
        raise NotImplementedError

    def words(self) -> list[str]:
        """Return the command that runs the machine."""
        raise NotImplementedError

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file to the machine's disk."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    def _mount(self) -> None:
        """Mount the overlay; its upper layer is on a file system of the instance's disk size."""
        if self.root.exists():
            return
        disk = self.birth.folder / "disk"
        for folder in (disk, self.root):
            folder.mkdir(parents=True)
        _run("mount", "-t", "tmpfs", "-o", f"mode=755,size={self.birth.disk_mb}m", "tmpfs", str(disk))
        for name in ("upper", "work"):
            (disk / name).mkdir()
        layers = f"lowerdir=/,upperdir={disk}/upper,workdir={disk}/work"
        _run("mount", "-t", "overlay", "-o", layers, "overlay", str(self.root))
        (self.root / "root").chmod(0o711)  # the interpreter of these tests may be below it

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        with self._lock:
            by_itself = self._process is process
            self.has_rebooted = process.returncode == REBOOTED
            if by_itself:
                self._process = None
        if by_itself:
            self.went_off = self.went_off if self.has_rebooted else time.time()
            self._off()


def _run(*words: str) -> None:
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(words)}: {result.stderr.strip()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the machine's PID 1 and so all its processes; the outer process then ends by itself."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        for pid in children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    if process.poll() is None:
        process.kill()
        process.wait()


def _is_first(pid: int) -> bool:
    """Whether it is PID 1 of a namespace below ours. nspawn's first child, which mounts the disk, is not."""
    lines = Path(f"/proc/{pid}/status").read_bytes().splitlines()
    numbers = next(line.split()[1:] for line in lines if line.startswith(b"NSpid:"))
    return len(numbers) > 1 and numbers[-1] == b"1"
