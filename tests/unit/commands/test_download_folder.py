"""A fetch into a folder without room, without locks, or that cannot be made."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.commands import download
from orchestrator.errors import GpujobError
from orchestrator.targets.base import Refused
from tests.support import Client, new_client
from tests.unit.commands.test_download import bring, described, host


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def test_a_fetch_that_does_not_fit_names_the_largest_files_and_moves_nothing(client: Client) -> None:
    huge = {"path": "checkpoints/model.pt", "bytes": 1 << 60, "sha256": "0" * 64}
    of = host([huge])
    with pytest.raises(GpujobError, match="too little free space") as error:
        bring(client, of)
    assert "checkpoints/model.pt" in error.value.why
    refusal = Refused("client-space", "no", "", {"needed": 1 << 60, "largest": [huge]})
    of.answers["stage"] = refusal
    with pytest.raises(GpujobError, match="too little free space"):
        bring(client, of)


@pytest.mark.parametrize(
    ("number", "what"), [(errno.ENOSPC, "the disk of {} is full"), (errno.EDQUOT, "your disk quota for {}")]
)
def test_a_disk_that_fills_up_amid_a_fetch_is_named_with_its_free_space(
    client: Client, monkeypatch: pytest.MonkeyPatch, number: int, what: str
) -> None:
    of = host([described("log", b"text")], log=b"text")

    def receive(_folder: str, names: list[str], to: Path, *_: Any) -> None:
        raise OSError(number, os.strerror(number), str(to / names[0]))

    monkeypatch.setattr(of, "receive", receive)
    with pytest.raises(GpujobError) as error:
        bring(client, of)
    assert what.format(client.project / "home") in error.value.what
    assert re.match(r"[\d.]+ \w+ are free while .*/home/\.gpujob-part/", error.value.why)


def test_a_folder_that_cannot_be_made_for_lack_of_space_is_named(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write may fail without a name: /dev/full has no room."""

    def write_text(*_: Any) -> None:
        with Path("/dev/full").open("w") as full:
            full.write("x")

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(GpujobError, match=r"the disk of .*/home is full"):
        bring(client, host([described("log", b"text")], log=b"text"))


def test_a_folder_without_locks_is_named_with_what_to_do(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(GpujobError, match="no file locks") as error:
        bring(client, host([described("log", b"fine")], log=b"fine"))
    assert "local disk" in error.value.next_step


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.write_text("mine"), "fetched is no folder"),
        (lambda path: path.symlink_to("/none"), "fetched is a link to /none, which does not exist"),
    ],
)
def test_what_stands_in_place_of_the_folder_of_a_fetch_is_named(
    client: Client, make: Callable[[Path], object], why: str
) -> None:
    make(client.project / "fetched")
    with pytest.raises(GpujobError) as error:
        download.download_run(client.context(), host([]), "run", "best", client.project / "fetched" / "run")
    assert (error.value.why.endswith(why), error.value.next_step) == (True, "--to DIR names another folder")
    assert (client.project / "fetched").is_symlink() or (client.project / "fetched").read_text() == "mine"
