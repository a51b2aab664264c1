"""A TorchServer, and the Python interpreter through which hosts use it."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.rigs import once
from tests.rigs.patience import PATIENCE
from tests.rigs.process import PATH

HERE = Path(__file__).parent
START = """import site; site.addsitedir({packages!r})
import os; os.environ.setdefault("OMP_NUM_THREADS", "1")
import sys, forward; forward.is_known(sys.orig_argv) and forward.forward({address!r})
"""


class TorchServer:
    """`with TorchServer() as server:` has imported PyTorch; its trainings have one thread.

    `python` is an interpreter over this one's packages whose `-m trainers …` and `-m torch.distributed.run …`
    the server carries out, also within the namespaces of a FakeHost or a simulated instance that can read
    `folder`. The processes of one test run share a server, which ends with the process that started them.
    """

    def __enter__(self) -> TorchServer:
        self._process: subprocess.Popen[bytes] | None = None
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
        if run and once.is_one_of_several():
            self.folder = Path(tempfile.gettempdir()) / f"gj-python-{run[:12]}"
            self.folder.mkdir(exist_ok=True)
            with once.alone(self.folder / "lock"):
                self._start(owner=once.controller())
        else:
            self.folder = Path(tempfile.mkdtemp(prefix="gj-python-"))
            self._start(owner=os.getpid())
        return self

    def __exit__(self, *_: object) -> None:
        """A server that several test processes use ends with the one that started them."""
        if self._process and not once.is_one_of_several():
            self._process.kill()
            self._process.communicate()
            shutil.rmtree(self.folder)

    def _start(self, owner: int) -> None:
        """Start the server unless one of this folder is ready; it ends with the process `owner`."""
        self._address = self.folder.name
        self.python = str(self.folder / "bin" / "python3")
        ready = self.folder / "ready"
        if ready.exists():
            return
        self.folder.chmod(0o755)
        shutil.rmtree(self.folder / "lib", ignore_errors=True)
        shutil.rmtree(self.folder / "bin", ignore_errors=True)
        words = [sys.executable, "-I", str(HERE / "server.py"), self._address, str(owner)]
        env = {"PATH": PATH, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env, start_new_session=True
        )
        self._make_environment()
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", "the torch server did not start"
        ready.touch()

    def start(
        self,
        words: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        output: IO[str],
        module: str = "trainers",
    ) -> ForkedProcess:
        """Start `python -m MODULE WORDS` by a fork of the server; stdin is empty."""
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.connect("\0" + self._address)
        request = json.dumps(
            {
                "module": module,
                "words": list(words),
                "env": dict(env),
                "cwd": str(cwd),
                "python": self.python,
            }
        )
        with Path(os.devnull).open("rb") as nothing:
            fds = [nothing.fileno(), output.fileno(), output.fileno()]
            socket.send_fds(line, [request.encode() + b"\n"], fds)
        return ForkedProcess(line)

    def _make_environment(self) -> None:
        base = Path(sys.executable).resolve()
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = self.folder / "lib" / version / "site-packages"
        packages.mkdir(parents=True)
        shutil.copy(HERE / "forward.py", packages)
        real = next(path for path in sys.path if path.endswith("site-packages"))
        (packages / "tests.pth").write_text(START.format(packages=real, address=self._address))
        (self.folder / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
        (self.folder / "bin").mkdir()
        for name in ("python", "python3"):
            (self.folder / "bin" / name).symlink_to(base)


_shared: list[TorchServer] = []


def shared() -> TorchServer:
    """Return the server of this test run, started at first use."""
    if not _shared:
        _shared.append(TorchServer().__enter__())
    return _shared[0]


def close_shared() -> None:
    while _shared:
        _shared.pop().__exit__()


class ForkedProcess:
    """The part of the interface of subprocess.Popen that tests use."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._answers = line.makefile("r")
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float = PATIENCE) -> int:
        """Return the exit code, negative for a signal. Raises TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("python -m trainers", timeout)
            self.returncode = os.waitstatus_to_exitcode(int(self._answers.readline()))
            self._answers.close()
            self._line.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)
