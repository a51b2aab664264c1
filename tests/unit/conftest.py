"""Fixtures of unit tests in several folders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rigs import s3
from tests.rigs.s3 import FakeS3


@pytest.fixture(scope="module")
def s3_server() -> Iterator[FakeS3]:
    with s3.running() as server:
        yield server


@pytest.fixture
def bucket(s3_server: FakeS3, monkeypatch: pytest.MonkeyPatch) -> FakeS3:
    """A server for S3 with an empty bucket, and the environment that leads to it."""
    s3_server.clear()
    for name, value in s3.environment(s3_server).items():
        monkeypatch.setenv(name, value)
    return s3_server
