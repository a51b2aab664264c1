"""Helpers on this machine, forked from a process that has imported the helper.

A helper serves one command, and its imports take a fifth of a CPU second: more than most commands of a test.
What is forked runs the same code, with the arguments, environment, folder, umask and pipes that it would be
started with. Supervisors, hosts behind SSH, and commands in processes of their own (`Client.spawn`) start it
as always.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from orchestrator.onhost import interpreters
from orchestrator.targets import helper_host, local
from orchestrator.targets.pipes import ProcessPipe
from tests.rigs import bytecode, helperserver

_BEGIN = 1 + len(interpreters.OPTIONS)  # the bundle's position in the words


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the helpers of the target `local` from now on, in commands run in this process."""
    monkeypatch.setattr(local, "ProcessPipe", _pipe)


def _pipe(words: Sequence[str], env: Mapping[str, str], errors: IO[bytes] | None = None) -> ProcessPipe:
    python, bundle = Path(words[0]), Path(words[_BEGIN])
    if python.resolve() != Path(sys.executable).resolve() or bundle.name != helper_host.digest():
        return ProcessPipe(words, env, errors=errors)
    return ForkedPipe([str(python), *words[_BEGIN:]], env, errors)


class ForkedPipe(ProcessPipe):
    """A pipe to a forked helper."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str], errors: IO[bytes] | None) -> None:
        self._timeout = None
        self._errors = []
        self._process: Any = Helper(words, env, errors)
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()


class Helper:
    """A helper that the server of this process has forked: the part of subprocess.Popen that a pipe uses."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str], errors: IO[bytes] | None) -> None:
        (stdin, mine), (out, stdout) = os.pipe(), os.pipe()
        self.stdin, self.stdout = os.fdopen(mine, "wb"), os.fdopen(out, "rb", 0)
        self.stderr: IO[bytes] | None = None
        stderr = errors.fileno() if errors else self._piped_errors()
        self._status, told = socket.socketpair()
        message = {"words": words, "env": dict(env), "cwd": str(Path.cwd()), "umask": _umask()}
        _server().send(json.dumps(message).encode(), [stdin, stdout, stderr, told.fileno()])
        for fd in (stdin, stdout, *([] if errors else [stderr])):
            os.close(fd)
        told.close()
        self._lines = self._status.makefile("r")
        self.pid = int(self._lines.readline())
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def _piped_errors(self) -> int:
        errors, stderr = os.pipe()
        self.stderr = os.fdopen(errors, "rb")
        return stderr

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        with self._lock:
            if self.returncode is None:
                if not select.select([self._status], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired("helper", timeout or 0)
                self.returncode = os.waitstatus_to_exitcode(int(self._lines.readline() or 1 << 8))
                self._lines.close()
                self._status.close()
            return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class Server:
    """The server of this process; it ends when this process does."""

    def __init__(self, bundle: Path) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, "-I", "-X", "utf8", helperserver.__file__, str(bundle)]
        self._process = subprocess.Popen(
            words, stdin=theirs, stdout=subprocess.DEVNULL, env={}, start_new_session=True
        )
        theirs.close()
        self._lock = threading.Lock()

    def send(self, message: bytes, fds: list[int]) -> None:
        assert len(message) < helperserver.LONGEST
        with self._lock:
            socket.send_fds(self._line, [message], fds)

    def close(self) -> None:
        self._line.close()
        self._process.wait(60)


def _umask() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)


_lock = threading.Lock()


@functools.cache
def _started() -> Server:
    return Server(bytecode.bundle())


def _server() -> Server:
    with _lock:
        return _started()


def close() -> None:
    """End the server, if one was started."""
    if _started.cache_info().currsize:
        _started().close()
        _started.cache_clear()
