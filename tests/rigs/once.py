"""What is made once for all processes of a test run (pytest-xdist)."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CONTROLLER = "PYTEST_XDIST_CONTROLLER"
"""The variable with the process that started the workers: the parent of a forked one is another process."""


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder `name`, which the first process that asks for it makes and all others only read."""
    base = factory.getbasetemp()
    folder = (base.parent if is_one_of_several() else base) / name
    made = folder.with_name(f"{name}.made")
    with alone(folder.with_name(f"{name}.lock")):
        if not made.exists():
            make(folder)
            made.touch()
    return folder


def is_one_of_several() -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ


def controller() -> int:
    """The process that has started this worker of pytest-xdist, and ends after all others."""
    return int(os.environ.get(CONTROLLER) or os.getppid())


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock that one process of the test run has at a time."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
