"""Files of the client: who may read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import files
from orchestrator.errors import GpujobError
from tests.support import Client, new_client


@pytest.fixture
def no_umask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("no_umask")
def test_a_file_and_its_new_folders_are_private_whatever_the_umask(tmp_path: Path) -> None:
    files.write(tmp_path / "a" / "b" / "c", b"x")
    files.write_json(tmp_path / "a" / "d" / "e", {})
    assert [mode(tmp_path / name) for name in ("a", "a/b", "a/d")] == [0o700] * 3
    assert [mode(tmp_path / name) for name in ("a/b/c", "a/d/e")] == [0o600] * 2


@pytest.mark.usefixtures("no_umask")
def test_state_is_readable_by_its_owner_alone_whatever_the_umask(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.job("print(1)")
    os.utime(client.project / "train.py", (1e9, 1e9))
    assert client.run("deploy", "job", "--dry-run", now=lambda: 4e9).code == 0
    monkeypatch.setattr("orchestrator.commands.config.show", lambda ctx: 1 / 0)
    assert client.run("config", "show").code == 1
    found = list((client.home / "cache").rglob("*"))
    assert client.context().log_file in found
    open_to_others = [path for path in found if path.is_file() and mode(path) & 0o077]
    assert open_to_others == []
    assert mode(client.state_dir) == 0o700


def test_a_result_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(GpujobError, match=r"report\.html cannot be written") as error:
        files.write_result(tmp_path / "file" / "report.html", b"", "file/report.html", "--to FILE")
    assert (error.value.why, error.value.next_step) == ("File exists", "--to FILE")
