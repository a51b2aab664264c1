"""Machines for the tests of the rigs, in short paths, since those contain sockets."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rigs.fakehost import FakeHost

Machines = Callable[..., FakeHost]


@pytest.fixture
def machine() -> Iterator[Machines]:
    """`machine(ip="127.0.0.3", shell="dash")`: start a machine, which ends with the test."""
    folder = Path(tempfile.mkdtemp(prefix="fh-"))
    with contextlib.ExitStack() as machines:
        machines.callback(shutil.rmtree, folder)

        def start(**options: object) -> FakeHost:
            name = str(len(list(folder.iterdir())))
            return machines.enter_context(FakeHost(folder / name, **options))  # type: ignore[arg-type]

        yield start
