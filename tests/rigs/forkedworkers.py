"""Workers of pytest-xdist, forked from a process that has imported what most tests need.

Each worker collects all tests, which imports PyTorch, moto and the programs: 8 CPU seconds a worker. A worker
is a process of its own as always; it shares the pages of what is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import MutableSequence
from pathlib import Path

import execnet
import pytest

from tests.rigs import once, workerserver

ROOT = Path(__file__).parents[2]
LIGHT = ("unit", "rigs_test")
"""Folders whose tests need none of the slow imports."""
_servers: list[subprocess.Popen[bytes]] = []


def use(config: pytest.Config, specs: MutableSequence[execnet.XSpec]) -> None:
    """Let xdist start its workers so; not for a part of the tests that needs no PyTorch, or for coverage."""
    plain = [spec for spec in specs if spec.popen and not spec.python]
    measures = config.getoption("cov_source", None)
    if sys.platform != "linux" or len(plain) < 2 or measures or all(map(_is_light, config.args)):
        return
    address = f"gj-workers-{os.getpid()}"
    words = [sys.executable, "-I", workerserver.__file__, address, str(os.getpid()), str(ROOT)]
    env = {"PATH": os.environ["PATH"], **workerserver.THREADS}
    server = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env, start_new_session=True
    )
    _servers.append(server)
    assert server.stdout is not None
    if server.stdout.readline() != b"ready\n":
        raise pytest.UsageError("the process that forks the workers did not start")
    os.environ[once.CONTROLLER] = str(os.getpid())
    python = f"{sys.executable} -I -S {workerserver.__file__} {address}"
    specs[:] = [execnet.XSpec(f"{spec}//python={python}") if spec in plain else spec for spec in specs]


def _is_light(argument: str) -> bool:
    path = Path(argument.partition("::")[0]).absolute()
    return path.is_relative_to(ROOT / "tests") and path.relative_to(ROOT / "tests").parts[:1] in [
        (name,) for name in LIGHT
    ]


def close() -> None:
    """End the process that forks the workers, if one was started."""
    while _servers:
        server = _servers.pop()
        server.kill()
        server.communicate()
