"""The rsync versions of several systems, and which commands check the version."""

from __future__ import annotations

import errno
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.errors import GpujobError
from orchestrator.targets.ssh import address, openssh, rsync
from tests.support import Client, new_client

APPLE = "openrsync: protocol version 29\nrsync version 2.6.9 compatible\n"
GNU = "rsync  version 3.2.7  protocol version 31\nCopyright (C) 1996-2022 by Andrew Tridgell\n"


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as row:
        row.job("print(1)")
        yield row


def plant(client: Client, says: str) -> Path:
    """Install an rsync that prints this version, the only one in PATH; return the log of its arguments."""
    folder, log = client.home / "bin", client.home / "asked"
    folder.mkdir()
    for name in ("git", "sh", "cat"):
        (folder / name).symlink_to(shutil.which(name) or "")
    program = folder / "rsync"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\nprintf %s {shlex.quote(says)}\n')
    program.chmod(0o755)
    client.env["PATH"] = str(folder)
    return log


@pytest.mark.parametrize(
    ("says", "good"),
    [
        ("rsync version 3.5.0 protocol version 32", True),
        ("rsync version v3.2.3 protocol version 31", True),
        ("rsync version 3.10.0pre1 protocol version 33", True),
        ("rsync version 3.1.0 protocol version 31", True),
        ("rsync version 3.0.9 protocol version 30", False),
        ("rsync version 2.6.9 protocol version 29", False),
        ("openrsync: protocol version 29, rsync version 2.6.9 compatible", False),
        ("dyld: Library not loaded", False),
        ("silent", False),
    ],
)
def test_only_rsync_3_1_or_later_is_accepted(says: str, good: bool) -> None:
    assert rsync.is_usable(says) is good


@pytest.mark.parametrize(
    "words",
    [
        ("deploy", "job", "--on", "gpu"),
        ("deploy", "job", "--on", "ec2", "--yes"),
        ("check", "blendshapes", "--data", "sets", "--on", "gpu"),
        ("fetch", "--on", "gpu"),
    ],
)
def test_the_rsync_of_macos_is_refused_before_anything_starts(client: Client, words: tuple[str, ...]) -> None:
    (client.project / "sets" / "blendshapes").mkdir(parents=True)
    log = plant(client, APPLE)
    result = client.run(*words, platform="darwin")
    assert result.code == 1, result.err
    assert "error: the rsync of this machine cannot be used" in result.err
    assert f"{log.parent}/bin/rsync is openrsync: protocol version 29, rsync version 2.6.9" in result.err
    assert "GNU rsync 3.1 or newer is needed" in result.err
    assert "next: brew install rsync" in result.err
    assert log.read_text() == "--version\n"


def test_a_missing_rsync_is_an_error_with_this_systems_install_command(client: Client) -> None:
    plant(client, "")
    (client.home / "bin" / "rsync").unlink()
    for platform, line in (("linux", "sudo apt-get install -y rsync"), ("darwin", "brew install rsync")):
        result = client.run("deploy", "job", "--on", "gpu", platform=platform)
        assert (result.code, "rsync is not installed on this machine" in result.err) == (1, True)
        assert line in result.err


def test_commands_that_transfer_no_files_do_not_check_rsync(client: Client) -> None:
    log = plant(client, APPLE)
    client.run("status")
    client.run("deploy", "job", "--dry-run")
    assert not log.exists()


def test_doctor_shows_the_rsync_version(client: Client) -> None:
    log = plant(client, GNU)
    row = rsync.row(client.context())
    assert row == ("rsync here", "ok", "rsync version 3.2.7 protocol version 31", "")
    assert rsync.row(client.context()) == row
    assert log.read_text() == "--version\n"
    (client.home / "bin" / "rsync").unlink()
    assert rsync.row(client.context(platform="darwin")) == (
        *("rsync here", "missing"),
        *("not installed", "brew install rsync"),
    )


FULL = 'rsync: [receiver] write failed on "/x/a": No space left on device (28)'


def test_a_full_disk_is_that_of_the_side_that_receives(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = plant(client, GNU)
    (log.parent / "bin" / "rsync").write_text(f"#!/bin/sh\necho x >> {log}\necho '{FULL}' >&2\nexit 12\n")
    monkeypatch.setattr(rsync, "require", lambda _: None)
    monkeypatch.setattr(openssh.OpenSSH, "ensure_master", lambda _: None)
    monkeypatch.setattr(openssh.OpenSSH, "words", lambda _: ["ssh"])
    resolved: Any = SimpleNamespace(typed=address.Typed("gpu", "gpu"))
    tool = rsync.Rsync(client.context(), resolved, openssh.OpenSSH(client.context(), resolved))
    with pytest.raises(GpujobError, match="the disk of gpu is full"):
        tool.upload([], ["a"], client.project, "/x", lambda _: None)
    with pytest.raises(OSError, match="No space left") as error:
        tool.download(["a"], "/x", client.project, lambda _: None)
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, f"{client.project}/")
    assert log.read_text() == "x\n" * 2, "it is not tried again"
